// The volumes of the page: unpacking, places, curves, projection. Draws nothing.
"use strict";
const page = JSON.parse(document.getElementById("page").textContent);
const [ni, nj, nk] = page.shape;
const count = ni * nj * nk;
const levels = Int16Array.from(page.levels);
const phases = Array(page.phases).fill(null); // bytes of each phase, once they are unpacked
let breasts = null;

// The bytes of a volume, i fastest.
async function unpack(name) {
  const element = document.getElementById(`volume-${name}`);
  const packed = await fetch(`data:application/octet-stream;base64,${element.textContent}`);
  element.remove(); // not needed any more
  const bytes = packed.body.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(bytes).arrayBuffer());
}

// A volume in NIfTI-1, for NiiVue: bits are 8 (unsigned) or 16 (signed) a voxel.
function nifti(bits) {
  const buffer = new ArrayBuffer(352 + (count * bits) / 8);
  const header = new DataView(buffer);
  const floats = (start, values) => values.forEach((v, n) => header.setFloat32(start + 4 * n, v, true));
  const shorts = (start, values) => values.forEach((v, n) => header.setInt16(start + 2 * n, v, true));
  header.setInt32(0, 348, true);
  shorts(40, [3, ni, nj, nk, 1, 1, 1, 1]);
  shorts(70, [bits === 8 ? 2 : 4, bits]);
  floats(76, [1, ...page.spacing]);
  floats(108, [352, 1, 0]);
  header.setUint8(123, 2); // mm
  shorts(252, [0, 2]);
  page.origin.forEach((origin, row) => {
    floats(280 + 16 * row, [0, 0, 0, origin]);
    floats(280 + 16 * row + 4 * row, [page.spacing[row]]);
  });
  [110, 43, 49, 0].forEach((letter, n) => header.setUint8(344 + n, letter)); // n+1
  return buffer;
}

// The nearest voxel of a place in RAS mm, within the images; and the place of a voxel.
function voxelOf(ras) {
  return ras.map((mm, axis) => {
    const index = Math.round((mm - page.origin[axis]) / page.spacing[axis]);
    return Math.min(Math.max(index, 0), page.shape[axis] - 1);
  });
}
const placeOf = (voxel) => voxel.map((index, axis) => page.origin[axis] + index * page.spacing[axis]);
const indexOf = ([i, j, k]) => i + ni * (j + nj * k);

// Signal of a phase, or its change from before contrast, into a 16-bit image.
function fill(image, time, change) {
  const codes = phases[time];
  if (change) {
    const before = phases[0];
    for (let n = 0; n < count; n++) image[n] = levels[codes[n]] - levels[before[n]];
  } else {
    for (let n = 0; n < count; n++) image[n] = levels[codes[n]];
  }
}

// Enhancement of each phase in the ball about a voxel: % of the signal before contrast where that is known.
function curveAt([i, j, k]) {
  const reach = page.spacing.map((mm) => Math.floor(page.radius / mm));
  const ball = [];
  for (let c = -reach[2]; c <= reach[2]; c++) {
    for (let b = -reach[1]; b <= reach[1]; b++) {
      for (let a = -reach[0]; a <= reach[0]; a++) {
        const near = Math.hypot(a * page.spacing[0], b * page.spacing[1], c * page.spacing[2]) <= page.radius;
        const inside = i + a >= 0 && i + a < ni && j + b >= 0 && j + b < nj && k + c >= 0 && k + c < nk;
        if (near && inside) ball.push(indexOf([i + a, j + b, k + c]));
      }
    }
  }
  const means = phases.map((codes) => ball.reduce((sum, n) => sum + levels[codes[n]], 0) / ball.length);
  if (!page.relative) return { unit: "a.u.", values: means.map((mean) => mean * page.unit) };
  if (means[0] <= 0) return { unit: "a.u.", values: means.map((mean) => (mean - means[0]) * page.unit) };
  return { unit: "%", values: means.map((mean) => (100 * (mean - means[0])) / means[0]) };
}

// A plane across an axis through a voxel: signal, or change from before contrast.
function plane(axis, voxel, time, change) {
  const [across, up] = [0, 1, 2].filter((other) => other !== axis);
  const [width, height] = [page.shape[across], page.shape[up]];
  const values = new Float32Array(width * height);
  const at = [...voxel];
  for (at[up] = 0; at[up] < height; at[up]++) {
    for (at[across] = 0; at[across] < width; at[across]++) {
      const n = indexOf(at);
      const before = change ? levels[phases[0][n]] : 0;
      values[at[across] + width * at[up]] = levels[phases[time][n]] - before;
    }
  }
  return { across, up, width, height, values };
}

// The brightest change of the breasts along an axis: values, and at which index they lie.
function projection(axis, time) {
  const [across, up] = [0, 1, 2].filter((other) => other !== axis);
  const steps = [1, ni, ni * nj];
  const [width, height, depth] = [page.shape[across], page.shape[up], page.shape[axis]];
  const values = new Float32Array(width * height);
  const where = new Int16Array(width * height).fill(-1);
  const codes = phases[time];
  const before = page.relative ? phases[0] : null;
  for (let d = 0; d < depth; d++) {
    for (let v = 0; v < height; v++) {
      let n = d * steps[axis] + v * steps[up];
      for (let u = 0; u < width; u++, n += steps[across]) {
        if (!breasts[n]) continue;
        const value = levels[codes[n]] - (before ? levels[before[n]] : 0);
        const pixel = u + width * v;
        if (value > values[pixel] || where[pixel] < 0) {
          values[pixel] = Math.max(value, 0);
          where[pixel] = d;
        }
      }
    }
  }
  return { axis, across, up, width, height, values, where };
}
