// The same request in other languages, to copy.

import { hasKey, segment } from '/console/api.js';
import { copyable, el } from '/console/dom.js';

// A text in quotes of a shell. Nothing in it has a meaning there.
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// `isPicture` is true if the reply is a picture.
export function snippets(pipeline, chip, file, isPicture) {
  const url = `${location.origin}/v1/pipelines/${segment(pipeline)}/infer?chip=${segment(chip)}`;
  const name = file.name || 'image';
  const quoted = JSON.stringify(name);
  const path = name.startsWith('-') || name.startsWith('@') ? `./${name}` : name;
  const headers = { 'content-type': file.type || 'application/octet-stream', ...(hasKey() ? { 'x-api-key': 'YOUR-KEY' } : {}) };
  const options = Object.entries(headers).map(([header, value]) => ` -H ${shell(`${header}: ${value}`)}`).join('');
  const members = JSON.stringify(headers);
  const texts = {
    curl: `curl --data-binary @${shell(path)}${options}${isPicture ? ' --output reply.png' : ''} ${shell(url)}`,
    Python: `import sys, urllib.request\n\nwith open(${quoted}, "rb") as file:\n    body = file.read()\n`
      + `request = urllib.request.Request(${JSON.stringify(url)}, data=body, headers=${members}, method="POST")\n`
      + 'sys.stdout.buffer.write(urllib.request.urlopen(request).read())',
    JavaScript: `import { readFile } from "node:fs/promises";\n\nconst body = await readFile(${quoted});\n`
      + `const response = await fetch(${JSON.stringify(url)}, { method: "POST", headers: ${members}, body });\n`
      + 'process.stdout.write(Buffer.from(await response.arrayBuffer()));',
  };
  return el('section', { class: 'panel' }, el('h2', {}, 'The same request'), Object.entries(texts).map(([language, text]) =>
    el('details', { open: language === 'curl' }, el('summary', {}, language), copyable(language, text))));
}
