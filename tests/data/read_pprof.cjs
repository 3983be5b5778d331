// Prints a gzipped pprof profile as JSON, as Datadog's reader for it, the npm package `pprof-format`, understands it:
//     node read_pprof.cjs FILE
const fs = require("node:fs");
const zlib = require("node:zlib");
const { createRequire } = require("node:module");

// The package is installed in the folder in which this runs.
const { Profile } = createRequire(process.cwd() + "/")("pprof-format");

const profile = Profile.decode(zlib.gunzipSync(fs.readFileSync(process.argv[2])));
const text = (index) => profile.stringTable.strings[Number(index)];
const functions = new Map(profile.function.map((entry) => [Number(entry.id), entry]));
const locations = new Map(profile.location.map((entry) => [Number(entry.id), entry]));
const frame = (id) =>
  locations.get(Number(id)).line.map((line) => {
    const entry = functions.get(Number(line.functionId));
    return [text(entry.name), text(entry.filename), Number(line.line)];
  });

console.log(
  JSON.stringify({
    sample_types: profile.sampleType.map((entry) => [text(entry.type), text(entry.unit)]),
    default_sample_type: text(profile.defaultSampleType),
    samples: profile.sample.map((sample) => ({
      values: sample.value.map(Number),
      frames: sample.locationId.flatMap(frame),
      labels: Object.fromEntries(sample.label.map((label) => [text(label.key), text(label.str)])),
    })),
  }),
);
