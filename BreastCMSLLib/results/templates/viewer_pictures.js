// What the page draws without NiiVue: the projection, the first planes, the curve.

// ---------------------------------------------------------------- the projection

function makeMip() {
  if (!breasts || phases.some((codes) => !codes)) return;
  mip = projection(Number(element("direction").value), early());
  const bright = Float32Array.from(mip.values.filter((value) => value > 0)).sort();
  const top = bright[Math.floor(0.999 * (bright.length - 1))] || 1;
  mip.picture = pictureOf(mip, 0, top * 2 ** (-Number(element("bright").value) / 40));
  drawMip();
}

// Flat values in grey. Front and head are up; the patient's right, or else the front, is to the left.
function pictureOf({ width, height, values }, low, high) {
  const picture = new ImageData(width, height);
  for (let n = 0; n < values.length; n++) {
    const grey = (255 * (values[n] - low)) / (high - low); // what does not fit into a byte is cut there
    picture.data.set([grey, grey, grey, 255], 4 * (values.length - 1 - n));
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

// Where a flat image lies in a rectangle: left, top, and pixels a voxel.
function frameOf({ across, up, width, height }, [left, top, right, bottom]) {
  const [wide, tall] = [width * page.spacing[across], height * page.spacing[up]];
  const scale = Math.min((right - left) / wide, (bottom - top) / tall);
  const [x, y] = [scale * page.spacing[across], scale * page.spacing[up]];
  return { left: (left + right - wide * scale) / 2, top: (top + bottom - tall * scale) / 2, x, y };
}

function mipFrame(canvas) {
  return frameOf(mip, [0, 0, canvas.width, canvas.height]);
}

const mipPixel = (u, v) => ({ column: mip.width - 1 - u, row: mip.height - 1 - v });

// The planes as plain pictures, while NiiVue prepares itself: without a graphics card that takes seconds.
function drawPreview() {
  const canvas = element("preview");
  canvas.width = canvas.clientWidth;
  canvas.height = canvas.clientHeight;
  const context = canvas.getContext("2d");
  const [low, high] = page.windows[page.relative && !changing() ? "phase" : "change"];
  const shown = narrow.matches ? { axial: [0, 0, 1, 1] } : PLANES;
  for (const [name, [left, top, wide, tall]] of Object.entries(shown)) {
    const flat = plane(2 - TYPES[name], voxelOf(place), time(), changing());
    const box = [left * canvas.width, top * canvas.height];
    box.push(box[0] + wide * canvas.width, box[1] + tall * canvas.height);
    const frame = frameOf(flat, box);
    const size = [flat.width * frame.x, flat.height * frame.y];
    context.drawImage(pictureOf(flat, low, high), frame.left, frame.top, ...size);
  }
}

function drawMip() {
  const canvas = element("mip");
  const ratio = window.devicePixelRatio || 1;
  if (!mip || !canvas.clientWidth) return;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  const context = canvas.getContext("2d");
  const frame = mipFrame(canvas);
  context.drawImage(mip.picture, frame.left, frame.top, mip.width * frame.x, mip.height * frame.y);
  const point = (ras) => {
    const [u, v] = [mip.across, mip.up].map((axis) => (ras[axis] - page.origin[axis]) / page.spacing[axis]);
    const { column, row } = mipPixel(u, v);
    return [frame.left + (column + 0.5) * frame.x, frame.top + (row + 0.5) * frame.y];
  };
  context.lineWidth = ratio;
  context.strokeStyle = "#35f0f0";
  context.fillStyle = "#ffffff";
  context.font = `bold ${13 * ratio}px system-ui, sans-serif`;
  page.candidates.forEach(({ ras, size, shown }, number) => {
    if (!shown) return;
    const [x, y] = point(ras);
    const radius = 7 * ratio + (size / 2 / page.spacing[mip.across]) * frame.x;
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.stroke();
    context.fillText(`${number + 1}`, x + 0.75 * radius + 2, y - 0.75 * radius);
  });
  const [x, y] = point(place);
  const gap = 14 * ratio;
  context.strokeStyle = "#ffe14d";
  context.beginPath();
  for (const [from, to] of [[0, y - gap], [y + gap, canvas.height]]) {
    context.moveTo(x, from);
    context.lineTo(x, to);
  }
  for (const [from, to] of [[0, x - gap], [x + gap, canvas.width]]) {
    context.moveTo(from, y);
    context.lineTo(to, y);
  }
  context.stroke();
  const letters = [AXES[mip.across], AXES[mip.up]];
  context.fillStyle = "#a9b4bf";
  context.fillText(letters[0][0], 4 * ratio, canvas.height / 2);
  context.fillText(letters[0][1], canvas.width - 14 * ratio, canvas.height / 2);
}

function clickMip(event) {
  if (!mip) return;
  const canvas = element("mip");
  const ratio = canvas.width / canvas.clientWidth;
  const frame = mipFrame(canvas);
  const column = Math.floor((event.offsetX * ratio - frame.left) / frame.x);
  const row = Math.floor((event.offsetY * ratio - frame.top) / frame.y);
  if (column < 0 || row < 0 || column >= mip.width || row >= mip.height) return;
  const [u, v] = [mip.width - 1 - column, mip.height - 1 - row];
  const voxel = voxelOf(place);
  voxel[mip.across] = u;
  voxel[mip.up] = v;
  const depth = mip.where[u + mip.width * v];
  if (depth >= 0) voxel[mip.axis] = depth;
  goTo(placeOf(voxel));
}

// ---------------------------------------------------------------- the curve

function drawCurve() {
  if (phases.some((codes) => !codes)) return;
  const { unit, values } = curveAt(voxelOf(place));
  const xs = page.minutes || values.map((_, n) => n);
  const [left, right, top, bottom] = [46, 330, 12, 134];
  const [low, high] = [Math.min(0, ...values), Math.max(unit === "%" ? 50 : 1e-9, ...values)];
  const x = (value) => left + ((value - xs[0]) / (xs[xs.length - 1] - xs[0] || 1)) * (right - left);
  const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - top);
  const parts = [];
  const add = (name, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
    if (text !== undefined) node.textContent = text;
    parts.push(node);
  };
  const power = 10 ** Math.floor(Math.log10((high - low) / 3));
  const tick = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= (high - low) / 3);
  for (let value = Math.ceil(low / tick) * tick; value <= high; value += tick) {
    add("line", { x1: left, x2: right, y1: y(value), y2: y(value), stroke: "#2a323a" });
    const text = Number(value.toPrecision(6)).toString().replace("-", "−");
    add("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, text);
  }
  xs.forEach((value, n) => {
    const label = page.minutes ? (Math.round(value * 10) / 10 + 0).toString().replace("-", "−") : n + 1;
    add("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, label);
  });
  add("line", { x1: x(xs[time()]), x2: x(xs[time()]), y1: top, y2: bottom, stroke: "#5b6570" });
  add("polyline", {
    points: values.map((value, n) => `${x(xs[n]).toFixed(1)},${y(value).toFixed(1)}`).join(" "),
    fill: "none",
    stroke: "#ff8f80",
    "stroke-width": 2,
  });
  values.forEach((value, n) => add("circle", { cx: x(xs[n]), cy: y(value), r: 3, fill: "#ff8f80" }));
  const axis = page.minutes ? "min from the first phase after contrast" : "phase";
  add("text", { x: (left + right) / 2, y: 164, "text-anchor": "middle" }, `${unit} over ${axis}`);
  element("curve").replaceChildren(...parts);
  const said = values.map((value) => value.toFixed(unit === "%" ? 0 : 2)).join(", ");
  element("curve").setAttribute("aria-label", `Enhancement at the crosshair, ${unit}, by phase: ${said}`);
}
