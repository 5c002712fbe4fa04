// Makes a component: node build.mjs SOURCE WIT OUTPUT
import { readFile, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [source, witPath, output] = process.argv.slice(2);
const options = { witPath, worldName: "guest" };
const { component } = await componentize(await readFile(source, "utf8"), options);
await writeFile(output, component);
