// The same request in other languages, to copy.

import { segment } from '/console/api.js';
import { copyable, el } from '/console/dom.js';

// A text in quotes of a shell. Nothing in it has a meaning there.
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function snippets(pipeline, chip, file) {
  const url = `${location.origin}/v1/pipelines/${segment(pipeline)}/infer?chip=${segment(chip)}`;
  const name = file.name || 'image';
  const quoted = JSON.stringify(name);
  const path = name.startsWith('-') || name.startsWith('@') ? `./${name}` : name;
  const texts = {
    curl: `curl --data-binary @${shell(path)} ${shell(url)}`,
    Python: `import urllib.request\n\nwith open(${quoted}, "rb") as file:\n    request = urllib.request.Request(${JSON.stringify(url)}, data=file.read(), method="POST")\n`
      + 'print(urllib.request.urlopen(request).read().decode())',
    JavaScript: `import { readFile } from "node:fs/promises";\n\nconst body = await readFile(${quoted});\n`
      + `const response = await fetch(${JSON.stringify(url)}, { method: "POST", body });\nconsole.log(await response.json());`,
  };
  return el('section', { class: 'panel' }, el('h2', {}, 'The same request'), Object.entries(texts).map(([language, text]) =>
    el('details', { open: language === 'curl' }, el('summary', {}, language), copyable(language, text))));
}
