// Prints how much script, as served (brotli), is loaded until one can type in a room: the entry, all that it imports,
// and the chunks that the room's screen asks for. Fails above the limit.
import { readFileSync, statSync } from "node:fs";

const LIMIT_BYTES = 200_000;
// Screens that are needed before one can type; everything else comes on demand.
const FIRST_SCREENS = [/src\/ui\/room\/Room[^/]*\.tsx$/, /src\/editor\/prompt\.ts$/];

const MANIFEST = new URL("../node_modules/.cache/page-manifest.json", import.meta.url);
const DIST = new URL("../dist/", import.meta.url);

const manifest = JSON.parse(readFileSync(MANIFEST, "utf8"));
const wanted = new Set();
for (const [key, chunk] of Object.entries(manifest)) if (chunk.isEntry) want(key);

let total = 0;
for (const key of wanted) {
  const { file } = manifest[key];
  if (!file.endsWith(".js")) continue;
  const bytes = statSync(new URL(`${file}.br`, DIST)).size;
  total += bytes;
  console.log(`${String(bytes).padStart(8)}  ${file}`);
}
console.log(`${String(total).padStart(8)}  of at most ${LIMIT_BYTES} bytes of script until one can type`);
if (total > LIMIT_BYTES) process.exit(1);

function want(key) {
  if (wanted.has(key)) return;
  wanted.add(key);
  const chunk = manifest[key];
  for (const imported of chunk.imports ?? []) want(imported);
  for (const imported of chunk.dynamicImports ?? []) {
    if (FIRST_SCREENS.some((screen) => screen.test(manifest[imported].src ?? ""))) want(imported);
  }
}
