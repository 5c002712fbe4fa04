//! What a measurement found, as Markdown.

use std::fmt;

/// One measurement: its place in the page, and what is shown there.
#[derive(Debug)]
pub struct Section {
    /// The placeholder in the page, and the name of the file that keeps it.
    pub name: &'static str,
    /// How it was measured, in a sentence or two.
    pub about: String,
    pub table: Table,
    /// Lines below the table: what was skipped, and why.
    pub notes: Vec<String>,
}

/// Rows below a head.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = impl ToString>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| cell.to_string()).collect();
        assert_eq!(cells.len(), self.head.len(), "a cell for each column");
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} |", self.head.join(" | "))?;
        writeln!(f, "|{}", " --- |".repeat(self.head.len()))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{}", self.about, self.table)?;
        for note in &self.notes {
            write!(f, "\n{note}\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["peer", "req/s"]);
        table.row(["hyper", "10"]);
        assert_eq!(
            table.to_string(),
            "| peer | req/s |\n| --- | --- |\n| hyper | 10 |\n"
        );
    }
}
