// Puts a .br and a .gz beside each text file of the built page, and takes the build's own list of files out of it:
// that names source paths, which are nobody's business.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const DIST = new URL("../dist/", import.meta.url).pathname;
const MANIFEST = new URL("../node_modules/.cache/page-manifest.json", import.meta.url).pathname;
const COMPRESSIBLE = new Set([".js", ".css", ".html", ".svg", ".json", ".txt", ".webmanifest"]);

const manifest = join(DIST, ".vite/manifest.json");
if (existsSync(manifest)) {
  mkdirSync(join(MANIFEST, ".."), { recursive: true });
  renameSync(manifest, MANIFEST);
  rmSync(join(DIST, ".vite"), { recursive: true });
}

for (const file of filesUnder(DIST)) {
  if (!COMPRESSIBLE.has(extname(file))) continue;
  const bytes = readFileSync(file);
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  writeFileSync(`${file}.br`, brotliCompressSync(bytes, { params }));
  writeFileSync(`${file}.gz`, gzipSync(bytes, { level: 9 }));
}

function filesUnder(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesUnder(path) : [path];
  });
}
