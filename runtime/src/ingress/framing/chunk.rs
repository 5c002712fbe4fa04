//! Where a chunked body ends.
//!
//! Takes at least all that the parser behind takes, so that both see the same end, and nothing with
//! a lone line feed in it.

/// Bytes of a line that ends a chunk's size, its extensions included.
const MAX_LINE: usize = 4 << 10;

/// A place in a chunked body.
#[derive(Clone, Copy, Debug)]
pub enum Chunk {
    /// In the digits of a chunk's size.
    Size(u64),
    /// After them, up to the end of the line; how many bytes it had.
    Extension {
        size: u64,
        bytes: usize,
        after_return: bool,
    },
    Data(u64),
    /// The line end after a chunk's data.
    DataEnd {
        after_return: bool,
    },
    /// After the last chunk: bytes of the line so far.
    Trailer {
        bytes: usize,
        after_return: bool,
    },
    /// After all of it.
    End,
}

/// A byte that is none of a chunked body.
#[derive(Clone, Copy, Debug)]
pub struct Malformed;

/// How many of `bytes` belong to something of which this much is left.
pub fn left_of(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

impl Chunk {
    pub const START: Chunk = Chunk::Size(0);

    pub fn is_end(self) -> bool {
        matches!(self, Chunk::End)
    }

    /// Reads on in a chunked body, up to its end: how many bytes of it there were, and whether it
    /// can go on after them.
    pub fn read(&mut self, bytes: &[u8]) -> (usize, Result<(), Malformed>) {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken)
            && !self.is_end()
        {
            if let Chunk::Data(left) = self {
                let data = left_of(*left, &bytes[taken..]);
                *left -= data as u64;
                taken += data;
                if *left == 0 {
                    *self = Chunk::DataEnd {
                        after_return: false,
                    };
                }
                continue;
            }
            let Some(next) = self.step(*byte) else {
                return (taken, Err(Malformed));
            };
            *self = next;
            taken += 1;
        }
        (taken, Ok(()))
    }

    /// The state after one byte outside of data; none when it may not be there.
    fn step(self, byte: u8) -> Option<Chunk> {
        let next = match self {
            Chunk::Size(size) => match (byte as char).to_digit(16) {
                Some(digit) => Chunk::Size(size.checked_mul(16)?.checked_add(digit.into())?),
                None if byte == b'\n' => return None,
                None => Chunk::Extension {
                    size,
                    bytes: 1,
                    after_return: byte == b'\r',
                },
            },
            Chunk::Extension {
                size,
                after_return: true,
                ..
            } => match (byte, size) {
                (b'\n', 0) => Chunk::Trailer {
                    bytes: 0,
                    after_return: false,
                },
                (b'\n', size) => Chunk::Data(size),
                _ => return None,
            },
            Chunk::Extension { size, bytes, .. } => {
                if byte == b'\n' || bytes > MAX_LINE {
                    return None;
                }
                Chunk::Extension {
                    size,
                    bytes: bytes + 1,
                    after_return: byte == b'\r',
                }
            }
            Chunk::Data(_) | Chunk::End => return None,
            Chunk::DataEnd { after_return } => match (after_return, byte) {
                (false, b'\r') => Chunk::DataEnd { after_return: true },
                (true, b'\n') => Chunk::Size(0),
                _ => return None,
            },
            Chunk::Trailer {
                bytes,
                after_return: true,
            } => match (byte, bytes) {
                (b'\n', 0) => Chunk::End,
                (b'\n', _) => Chunk::Trailer {
                    bytes: 0,
                    after_return: false,
                },
                _ => return None,
            },
            Chunk::Trailer { bytes, .. } => match byte {
                b'\n' => return None,
                b'\r' => Chunk::Trailer {
                    bytes,
                    after_return: true,
                },
                _ => Chunk::Trailer {
                    bytes: bytes + 1,
                    after_return: false,
                },
            },
        };
        Some(next)
    }
}
