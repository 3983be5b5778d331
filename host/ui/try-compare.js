// Whether the replies of several chips agree, as a sentence. What was not compared is never called equal.

// A number may differ by this part of the largest number with the same place in the reply, for example in the same list.
const TOLERANCE = 0.01;

const share = (part) => `${part >= 0.1 ? (100 * part).toFixed(0) : Number((100 * part).toPrecision(2))} %`;

export async function compared(replies, asked = replies.length) {
  if (replies.length < asked || asked < 2) return `Nothing was compared: ${replies.length} of ${asked} chips answered.`;
  const failed = replies.filter(({ status }) => status >= 400);
  const statuses = replies.map((reply) => `${reply.chip} ${reply.status}${reply.json?.code ? ` ${reply.json.code}` : ''}`).join(', ');
  if (failed.length === replies.length) return `Nothing was compared: all chips failed (${statuses}).`;
  if (failed.length > 0) return `The chips differ: ${statuses}.`;
  const [first, ...others] = replies;
  const results = [];
  for (const other of others) results.push(await difference(first, other));
  const wrong = results.find(({ differs }) => differs);
  if (wrong) return `The chips differ: ${wrong.differs}.`;
  const unknown = results.find(({ unknown: text }) => text);
  if (unknown) return `Nothing is known: ${unknown.unknown}.`;
  const names = replies.map(({ chip }) => chip).join(', ');
  const apart = Math.max(...results.map(({ apart: part }) => part));
  return apart === 0 ? `${names} agree: ${results.some(({ isPicture }) => isPicture) ? 'the pictures' : 'the replies'} are equal.`
    : `${names} agree: a number differs by at most ${share(apart)} of the largest one in its place (${share(TOLERANCE)} is allowed).`;
}

async function difference(a, b) {
  const pair = `${a.chip} and ${b.chip}`;
  if (a.status !== b.status) return { differs: `${a.chip} replied ${a.status}, ${b.chip} ${b.status}` };
  if (a.type !== b.type) return { differs: `${a.chip} replied ${a.type || 'no media type'}, ${b.chip} ${b.type || 'no media type'}` };
  if (isSame(a.bytes, b.bytes)) return { apart: 0 };
  if (a.json !== undefined && b.json !== undefined) return ofJson(a.json, b.json, pair);
  if (a.type === 'image/png') return ofPictures(a, b, pair);
  if (a.bytes.length !== b.bytes.length) return { differs: `${pair} have ${a.bytes.length} and ${b.bytes.length} bytes` };
  const number = a.bytes.reduce((sum, byte, at) => sum + (byte === b.bytes[at] ? 0 : 1), 0);
  return { differs: `${number} of ${a.bytes.length} bytes of ${pair}` };
}

const isSame = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);

// Pictures with other bytes may have the same pixels.
async function ofPictures(a, b, pair) {
  let one, other;
  try {
    [one, other] = [await pixels(a.bytes), await pixels(b.bytes)];
  } catch {
    return { differs: `the bytes of the pictures of ${pair}, which the browser cannot show` };
  }
  if (one.width !== other.width || one.height !== other.height) {
    return { differs: `the pictures of ${pair} have ${one.width} × ${one.height} and ${other.width} × ${other.height} pixels` };
  }
  let number = 0;
  for (let at = 0; at < one.data.length; at += 4) {
    if ([0, 1, 2, 3].some((part) => one.data[at + part] !== other.data[at + part])) number += 1;
  }
  const all = one.width * one.height;
  // The browser reads at most 8 bits of each part of a pixel.
  return number === 0 ? { unknown: `the bytes of the pictures of ${pair} differ, but the pixels look the same with 8 bits` }
    : { differs: `${number} of ${all} pixels (${share(number / all)}) of the pictures of ${pair}` };
}

async function pixels(bytes) {
  const picture = await createImageBitmap(new Blob([bytes], { type: 'image/png' }), { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
  const context = new OffscreenCanvas(picture.width, picture.height).getContext('2d');
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, picture.width, picture.height);
}

// All values but numbers, and all whole numbers, must be equal.
export function ofJson(one, other, pair) {
  // Numbers by their place, where all items of a list have the same: [number, number].
  const places = new Map();
  const differs = walk(one, other, '', pair, places);
  if (differs) return { differs };
  let most = 0;
  for (const [place, numbers] of places) {
    const largest = numbers.reduce((max, [a, b]) => Math.max(max, Math.abs(a), Math.abs(b)), 0);
    for (const [a, b] of numbers) {
      if (a === b) continue;
      const apart = Math.abs(a - b) / largest;
      if (Number.isInteger(a) && Number.isInteger(b) || !(apart <= TOLERANCE)) {
        const size = Number.isFinite(apart) ? `, ${share(apart)} of the largest one there` : '';
        return { differs: `a number of ${pair} is ${a} and ${b}${place && ` (${place}${size})`}` };
      }
      most = Math.max(most, apart);
    }
  }
  return { apart: most };
}

const kind = (value) => (value === null ? 'null' : Array.isArray(value) ? 'list' : typeof value);

function walk(one, other, place, pair, places) {
  if (kind(one) !== kind(other)) return `${pair} have ${text(one)} and ${text(other)}${at(place)}`;
  if (typeof one === 'number') {
    if (!places.has(place)) places.set(place, []);
    places.get(place).push([one, other]);
    return undefined;
  }
  if (kind(one) === 'list') {
    if (one.length !== other.length) return `${pair} have ${one.length} and ${other.length} results${at(place)}`;
    for (let item = 0; item < one.length; item += 1) {
      const differs = walk(one[item], other[item], `${place}[]`, pair, places);
      if (differs) return differs;
    }
    return undefined;
  }
  if (kind(one) !== 'object') return one === other ? undefined : `${pair} have ${text(one)} and ${text(other)}${at(place)}`;
  for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) {
    if (place === '' && key === 'request_id') continue;
    if (!Object.hasOwn(one, key) || !Object.hasOwn(other, key)) return `only one of ${pair} has “${key}”${at(place)}`;
    const differs = walk(one[key], other[key], place ? `${place}.${key}` : key, pair, places);
    if (differs) return differs;
  }
  return undefined;
}

const at = (place) => (place ? ` (${place})` : '');

const text = (value) => {
  const long = JSON.stringify(value);
  return long.length > 80 ? `${long.slice(0, 80)}…` : long;
};
