// Checks documents of the operators' own kinds against their schemas: chart_kinds.mjs MODULES DOCUMENTS.json
//
// MODULES is the folder `node_modules` with @kubernetes-models/keda and @kubernetes-models/prometheus-operator, which have
// the schemas as compiled validators. A validator ignores keys that it does not know, as the server drops them without a
// word. So the document notes which keys were read: a key that was not read is unknown.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const KINDS = {
  ServiceMonitor: 'prometheus-operator/_schemas/ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1ServiceMonitor.js',
  PrometheusRule: 'prometheus-operator/_schemas/ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1PrometheusRule.js',
  ScaledObject: 'keda/_schemas/ComGithubKedacoreKedaV2ApisKedaV1alpha1ScaledObject.js',
};
const [modules, file] = process.argv.slice(2);

/** The mistakes of a document. */
async function mistakes(document) {
  const { validate } = await import(pathToFileURL(`${modules}/@kubernetes-models/${KINDS[document.kind]}`));
  const read = new Set();
  const watched = (value, path) => {
    if (value === null || typeof value !== 'object') return value;
    const children = new Map();
    return new Proxy(value, {
      get(target, key) {
        if (typeof key !== 'string' || !Object.hasOwn(target, key)) return target[key];
        read.add(`${path}/${key}`);
        if (!children.has(key)) children.set(key, watched(target[key], `${path}/${key}`));
        return children.get(key);
      },
    });
  };
  const found = [];
  if (!validate(watched(document, ''))) {
    found.push(...validate.errors.map((error) => `${error.instancePath} ${error.keyword} ${JSON.stringify(error.params)}`));
  }
  const unread = (value, path) => {
    if (value === null || typeof value !== 'object') return;
    for (const [key, child] of Object.entries(value)) {
      const at = `${path}/${key}`;
      // Texts of labels and annotations are not read one by one.
      if (!read.has(at)) found.push(`${at} is not a key of ${document.kind}`);
      else unread(child, at);
    }
  };
  const { metadata, ...rest } = document;
  unread(rest, '');
  return found;
}

const documents = JSON.parse(readFileSync(file, 'utf8')).filter((document) => document?.kind in KINDS);
const seen = new Set();
for (const document of documents) {
  const found = await mistakes(document);
  if (found.length) throw new Error(`${document.kind}: ${found.join('\n')}`);
  // The check finds a wrong key and a wrong type.
  for (const [key, value] of [['nonsense', 1], [Object.keys(document.spec)[0], 17.5]]) {
    const wrong = structuredClone(document);
    wrong.spec[key] = value;
    if (!(await mistakes(wrong)).length) throw new Error(`${document.kind}: a wrong ${key} was not found`);
  }
  seen.add(document.kind);
}
console.log([...seen].sort().join(' '));
