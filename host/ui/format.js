// Numbers as text.

const KIB = 1024;

export function bytes(count) {
  if (count === undefined || count === null) return '–';
  if (count < KIB) return `${count} B`;
  const unit = count < KIB ** 2 ? 1 : count < KIB ** 3 ? 2 : 3;
  const value = count / KIB ** unit;
  const digits = unit === 1 || value >= 100 || Number.isInteger(value) ? 0 : value < 10 ? 2 : 1;
  return `${value.toFixed(digits)} ${['', 'KiB', 'MiB', 'GiB'][unit]}`;
}

export function time(seconds) {
  if (seconds === undefined || seconds === null) return '–';
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 2 : 1)} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

export const count = (number) => (number ?? 0).toLocaleString('en');

export const rate = (number) => (number < 10 ? number.toFixed(1) : Math.round(number).toLocaleString('en'));

export const ratio = (number) => (number === null || number === undefined ? '–' : `${number.toFixed(2)} ×`);

export const percent = (part, digits = 1) => `${(100 * part).toFixed(digits)} %`;

// How an outcome is shown: what the caller sent, or a fault on this side.
const CALLER = ['unsupported_media_type', 'invalid_input', 'too_large', 'cancelled'];

export const kindOf = (outcome) => (outcome === 'ok' ? 'ok' : CALLER.includes(outcome) ? 'caller' : 'fault');

export const clock = (date) => date.toLocaleTimeString('en-GB');

// The time of day, with the date unless it is today.
export const moment = (date) => (date.toDateString() === new Date().toDateString() ? clock(date)
  : `${date.toLocaleDateString('en-CA')} ${clock(date)}`);
