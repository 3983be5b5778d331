// Writes the heaps of `heap_guest.rs` as inputs of the target `heap`: node heap_seeds.mjs SEEDS_FOLDER
//
// Only the words that the walk reads are kept: the heads of chunks, and the sizes before and after free ones.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WASI } from "node:wasi";

const PAGE = 65536;
const folder = mkdtempSync(join(tmpdir(), "heap-"));
const file = join(folder, "guest.wasm");
execFileSync("rustc", ["--target", "wasm32-wasip1", "--crate-type", "cdylib", "-O", "-C", "link-arg=--export=__heap_base",
  "-o", file, join(import.meta.dirname, "heap_guest.rs")]);
const module = new WebAssembly.Module(readFileSync(file));
for (let kind = 0; kind < 5; kind++) {
  const wasi = new WASI({ version: "preview1" });
  const instance = new WebAssembly.Instance(module, wasi.getImportObject());
  wasi.initialize(instance);
  const { exports } = instance;
  exports.run(kind);
  const view = new DataView(exports.memory.buffer);
  const word = (at) => (at + 4 <= view.byteLength ? view.getUint32(at, true) : 0);
  // The heap moves to the first page: the addresses in it do not matter to the walk.
  const shift = Math.floor(exports.__heap_base.value / PAGE) * PAGE;
  const kept = new Map();
  const keep = (at) => kept.set(at - shift, word(at));
  const walk = (start) => {
    for (let at = start; at + 8 <= view.byteLength; ) {
      const head = word(at + 4);
      keep(at + 4);
      if (head === 7) return walk(Math.ceil((at + 8) / PAGE) * PAGE + (word(Math.ceil((at + 8) / PAGE) * PAGE + 4) ? 0 : 8));
      const size = head & ~7;
      if (size < 16) return;
      if (!(head & 2)) {
        keep(at + size);
        keep(at + size + 4);
      }
      at += size;
    }
  };
  const start = Math.ceil(exports.__heap_base.value / 8) * 8;
  walk([start, start + 8].find((at) => word(at + 4) & ~7) ?? start);
  const pages = (view.byteLength - shift) / PAGE;
  const bytes = [pages - 1, ...u16((start - shift) / 8)];
  let end = 0;
  const granules = [...new Set([...kept.keys()].map((at) => at - (at % 8)))].sort((a, b) => a - b);
  for (const at of granules) {
    bytes.push(...u16((at - end) / 8), 2, ...u32(kept.get(at) ?? 0), ...u32(kept.get(at + 4) ?? 0));
    end = at + 8;
  }
  console.log(`kind ${kind}: ${pages} pages, ${granules.length} granules, ${bytes.length} bytes`);
  writeFileSync(join(process.argv[2], "heap", `guest-${kind}`), Uint8Array.from(bytes));
}

function u16(value) {
  return [value & 255, value >> 8];
}

function u32(value) {
  return [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24];
}
