// Writes src/kinds.ts, which imports every file of bb_jupyter/frontend/kinds/: a new kind of request is found by its file.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";

const folder = new URL("../bb_jupyter/frontend/kinds/", import.meta.url);
const files = readdirSync(folder).filter(name => name.endsWith(".js")).sort();
const lines = files.map(name => `import "../../bb_jupyter/frontend/kinds/${name}";\n`);
const [target, text] = [new URL("src/kinds.ts", import.meta.url), `// Written by kinds.mjs.\n${lines.join("")}`];
if (!existsSync(target) || readFileSync(target, "utf-8") !== text) writeFileSync(target, text); // else what is built is not stale
