// The page: planes drawn by NiiVue, and what moves them. viewer_pictures.js draws the rest.
const element = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const TYPES = { axial: 0, coronal: 1, sagittal: 2 };
const HALF = 0.497;
const PLANES = {
  axial: [0, 0, HALF, HALF],
  sagittal: [1 - HALF, 0, HALF, HALF],
  coronal: [0, 1 - HALF, HALF, HALF],
};
const AXES = ["RL", "AP", "SI"];
const narrow = window.matchMedia("(max-width: 820px)");
const planes = element("planes");
const labels = all("[data-phase]").map((item) => item.textContent);
let nv = null;
let image = null; // what is shown in grey
let overlay = null; // the map over it
let mip = null;
const middle = placeOf(page.shape.map((n) => (n - 1) / 2));
let place = middle; // of the crosshair, RAS mm
let candidate = -1;
const maps = {};

function message(text) {
  element("message").textContent = text;
}

// ---------------------------------------------------------------- what is shown

const time = () => Number(element("time").value);
const changing = () => page.relative && element("change").checked && time() > 0;
const early = () => (page.relative && time() === 0 ? page.first.at(-1) : time());

function fillImage() {
  fill(image.img, time(), changing());
  const kind = page.relative && !changing() ? "phase" : "change";
  const [low, high] = page.windows[kind];
  image.cal_min = low;
  image.cal_max = low + (high - low) * 2 ** (-Number(element("bright").value) / 40);
  element("time-text").textContent = `${time() + 1} of ${page.phases}`;
  const what = `${labels[time()] || `phase ${time() + 1}`}${changing() ? ", minus before contrast" : ""}`;
  element("time").setAttribute("aria-valuetext", what);
  element("shown").textContent = page.relative ? what : `Subtraction, ${what}`;
  element("bright-text").textContent = element("bright").value;
}

function showImage() {
  fillImage();
  nv.updateGLVolume();
}

function fillMap() {
  const opacity = Number(element("opacity").value);
  const threshold = Number(element("threshold").value);
  element("opacity-text").textContent = `${opacity} %`;
  element("threshold-text").textContent = (threshold / 100).toFixed(2);
  element("map-note").textContent = element("map").selectedOptions[0]?.dataset.note ?? "";
  if (!overlay) return;
  overlay.img.set(maps[element("map").value]);
  overlay.cal_min = (255 * threshold) / 100;
  overlay.cal_max = 255;
  overlay.opacity = opacity / 100;
}

function showMap() {
  fillMap();
  nv.updateGLVolume();
}

function showOutline() {
  const shown = element("outline").checked && page.outlined;
  nv.drawRimOpacity = shown ? 1 : -1;
  nv.drawOpacity = shown ? 0.01 : 0; // the rim alone: NiiVue draws none where nothing is drawn at all
  nv.drawScene();
}

function showView(view) {
  document.querySelector(".panes").dataset.view = view;
  all("button[data-view]").forEach((tab) => tab.setAttribute("aria-pressed", tab.dataset.view === view));
  const shown = view === "all" ? Object.keys(PLANES) : [view in TYPES ? view : "axial"];
  nv.setCustomLayout(
    shown.map((name) => ({ sliceType: TYPES[name], position: view === "all" ? PLANES[name] : [0, 0, 1, 1] })),
  );
  drawMip();
}

// ---------------------------------------------------------------- the crosshair

// Letters and mm as in the report: "L 37, A 7, S 53 mm".
function placeText(ras) {
  const parts = ras.map((mm, axis) => `${AXES[axis][mm < 0 ? 1 : 0]} ${Math.abs(mm).toFixed(0)}`);
  return `${parts.join(", ")} mm`;
}

function goTo(ras, follow = true) {
  place = placeOf(voxelOf(ras)).map((mm, axis) => {
    const own = Math.abs(mm - ras[axis]) <= page.spacing[axis] / 2;
    return own ? ras[axis] : mm; // a place outside the images goes to their border
  });
  nv.scene.crosshairPos = nv.mm2frac(place);
  if (follow) center();
  nv.drawScene();
  element("position").textContent = placeText(place);
  drawMip();
  drawCurve();
}

// Once zoomed, the planes stay about the crosshair. NiiVue shows (bounds − pan) / zoom, in mm.
function center() {
  const zoom = nv.scene.pan2Dxyzmm[3];
  const pan = place.map((mm, axis) => (zoom > 1 ? middle[axis] - zoom * mm : 0));
  nv.scene.pan2Dxyzmm = [...pan, zoom];
}

function zoomBy(factor) {
  const zoom = factor ? Math.min(Math.max(nv.scene.pan2Dxyzmm[3] * factor, 1), 12) : 1;
  nv.scene.pan2Dxyzmm = [0, 0, 0, zoom];
  nv.opts.crosshairWidth = 0.8 / zoom; // mm: a thin line at any zoom
  if (nv.crosshairs3D) nv.crosshairs3D.mm = [NaN, NaN, NaN]; // made anew
  goTo(place);
}

function step(axis, voxels) {
  const moved = [...place];
  moved[axis] += voxels * page.spacing[axis];
  goTo(moved);
}

function choose(number) {
  candidate = number;
  all("[data-candidate]").forEach((button) => {
    button.setAttribute("aria-current", Number(button.dataset.candidate) === number + 1);
  });
  goTo(page.candidates[number].ras);
}

function chooseNext(by) {
  const listed = all("[data-candidate]").map((button) => Number(button.dataset.candidate) - 1);
  if (!listed.length) return;
  const at = listed.indexOf(candidate);
  choose(listed[(at < 0 ? (by > 0 ? 0 : listed.length - 1) : at + by + listed.length) % listed.length]);
}

// ---------------------------------------------------------------- what moves it

const pointers = new Map();

function pointerPlace(event) {
  const box = planes.getBoundingClientRect();
  const ratio = planes.width / box.width;
  const position = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  const fraction = nv.canvasPos2frac(position);
  return fraction[0] < 0 ? null : { fraction, tile: nv.tileIndex(...position) };
}

function moveCrosshair(event) {
  const found = pointerPlace(event);
  if (!found) return;
  goTo([...nv.frac2mm(found.fraction)].slice(0, 3), false); // the images must not run away
}

function onPointerDown(event) {
  planes.focus();
  planes.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  if (pointers.size === 1 && event.button === 0) moveCrosshair(event);
}

function onPointerMove(event) {
  const last = pointers.get(event.pointerId);
  if (!last) return;
  const other = [...pointers.entries()].find(([id]) => id !== event.pointerId);
  if (other) {
    const apart = ([x, y]) => Math.hypot(x - other[1][0], y - other[1][1]) || 1;
    zoomBy(apart([event.clientX, event.clientY]) / apart(last));
  } else if (event.buttons === 2) {
    element("bright").value = Number(element("bright").value) + (last[1] - event.clientY) / 2;
    showImage();
  } else {
    moveCrosshair(event);
  }
  if (event.buttons !== 2 || Math.abs(last[1] - event.clientY) >= 10) {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  }
}

function onWheel(event) {
  event.preventDefault();
  const way = event.deltaY < 0 ? 1 : -1;
  if (event.ctrlKey) {
    zoomBy(way > 0 ? 1.2 : 1 / 1.2);
    return;
  }
  const found = pointerPlace(event);
  if (found) step({ 0: 2, 1: 1, 2: 0 }[nv.screenSlices[found.tile].axCorSag], way);
}

function toggle(id) {
  element(id).checked = !element(id).checked;
  element(id).dispatchEvent(new Event("change"));
}

function stepTime(by) {
  element("time").value = time() + by;
  element("time").dispatchEvent(new Event("input"));
}

let opacityBefore = 50;

function toggleMap() {
  const now = Number(element("opacity").value);
  element("opacity").value = now ? 0 : opacityBefore;
  opacityBefore = now || opacityBefore;
  showMap();
}

// Keys while the images have the focus. Right is where the screen shows it: the patient's left.
const KEYS = {
  ArrowLeft: (by) => step(0, by),
  ArrowRight: (by) => step(0, -by),
  ArrowUp: (by) => step(1, by),
  ArrowDown: (by) => step(1, -by),
  PageUp: (by) => step(2, by),
  PageDown: (by) => step(2, -by),
  n: () => chooseNext(1),
  p: () => chooseNext(-1),
  ",": () => stepTime(-1),
  ".": () => stepTime(1),
  s: () => page.relative && toggle("change"),
  m: toggleMap,
  o: () => toggle("outline"),
  "+": () => zoomBy(1.25),
  "=": () => zoomBy(1.25),
  "-": () => zoomBy(1 / 1.25),
  0: () => zoomBy(0),
};

function onKey(event) {
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act(event.shiftKey ? 5 : 1);
}

function listen() {
  planes.addEventListener("pointerdown", onPointerDown);
  planes.addEventListener("pointermove", onPointerMove);
  for (const name of ["pointerup", "pointercancel"]) {
    planes.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  planes.addEventListener("wheel", onWheel, { passive: false });
  planes.addEventListener("contextmenu", (event) => event.preventDefault());
  planes.addEventListener("keydown", onKey);
  element("mip").addEventListener("click", clickMip);
  all("button[data-view]").forEach((tab) => tab.addEventListener("click", () => showView(tab.dataset.view)));
  all("[data-zoom]").forEach((button) => {
    const factor = { "-1": 1 / 1.5, 0: 0, 1: 1.5 }[button.dataset.zoom];
    button.addEventListener("click", () => zoomBy(factor));
  });
  all("[data-candidate]").forEach((button) => {
    button.addEventListener("click", () => choose(Number(button.dataset.candidate) - 1));
  });
  for (const id of ["time", "change", "bright"]) {
    element(id).addEventListener(id === "change" ? "change" : "input", () => {
      showImage();
      makeMip();
      drawCurve();
    });
  }
  for (const id of ["map", "opacity", "threshold"]) element(id).addEventListener("input", showMap);
  element("outline").addEventListener("change", showOutline);
  element("direction").addEventListener("change", makeMip);
  narrow.addEventListener("change", () => showView(narrow.matches ? "axial" : "all"));
  new ResizeObserver(drawMip).observe(element("mip"));
}

// ---------------------------------------------------------------- the beginning

function prepare() {
  element("time").value = page.first.at(-1);
  element("change").checked = page.relative;
  element("change-row").hidden = !page.relative;
  element("outline").checked = page.outlined;
  element("outline-row").hidden = !page.outlined;
  element("opacity").value = 0; // the map waits until it is asked for: it would hide the lesion
  element("threshold").value = Math.round(100 * page.threshold);
  const stops = page.colours.map((colour) => `rgb(${colour.join()})`);
  document.querySelector(".ramp i").style.background = `linear-gradient(90deg, ${stops.join()})`;
}

function colours() {
  const channel = (n) => page.colours.map((colour) => colour[n]);
  const I = page.colours.map((_, n) => Math.round((255 * n) / (page.colours.length - 1)));
  I.splice(1, 0, 1);
  const twice = (values) => [values[0], ...values]; // at 0, where nothing is drawn, and at 1
  const A = I.map((value) => (value ? 255 : 0));
  nv.addColormap("saliency", { R: twice(channel(0)), G: twice(channel(1)), B: twice(channel(2)), A, I });
  const mark = (value) => Array(256).fill(value).fill(0, 0, 1);
  nv.setDrawColormap({ R: mark(53), G: mark(240), B: mark(240), A: mark(255), labels: Array(256).fill("") });
}

// First what is seen first; the rest while somebody looks at that.
async function start() {
  prepare();
  for (const number of page.first) phases[number] = await unpack(`phase-${number}`);
  if (page.candidates.length && page.meaningful) place = page.candidates[0].ras;
  drawPreview();
  message("");
  element("shown").textContent = "Preparing the images";
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  document.documentElement.dataset.firstMs = Math.round(performance.now());
  nv = new niivue.Niivue({
    backColor: [0, 0, 0, 1],
    crosshairColor: [1, 0.88, 0.3, 0.9],
    crosshairGap: 30, // times its width: the lesion stays free
    crosshairWidth: 0.8,
    crosshairWidthUnit: "mm",
    dragAndDropEnabled: false,
    interactive: false,
    isRadiologicalConvention: true,
    sagittalNoseLeft: true,
    showAllOrientationMarkers: true,
    fontColor: [0.75, 0.8, 0.85, 1],
    loadingText: "",
    logLevel: "silent",
    multiplanarShowRender: 0,
  });
  await nv.attachToCanvas(planes, true);
  colours();
  image = await niivue.NVImage.new(nifti(16), "image.nii", "gray", 1, null, 0, 1);
  fillImage();
  fillMap();
  nv.volumes = [image];
  nv.setVolume(image, 0);
  listen();
  showView(narrow.matches ? "axial" : "all");
  if (page.candidates.length && page.meaningful) choose(0);
  else goTo(place);
  element("preview").remove();
  document.documentElement.dataset.state = "first";
  await new Promise((done) => setTimeout(done));
  await unpackRest();
  document.documentElement.dataset.state = "ready";
}

async function unpackRest() {
  if (document.readyState === "loading") {
    await new Promise((done) => document.addEventListener("DOMContentLoaded", done));
  }
  breasts = await unpack("breasts");
  for (let number = 0; number < page.phases; number++) {
    if (!phases[number]) phases[number] = await unpack(`phase-${number}`);
  }
  makeMip();
  drawCurve();
  for (const name of page.maps) maps[name] = await unpack(`map-${name}`);
  overlay = await niivue.NVImage.new(nifti(8), "map.nii", "saliency", 0, null, 102, 255);
  overlay.colormapType = 2; // colours from 0 on, transparent below the threshold
  fillMap();
  nv.volumes = [image, overlay];
  nv.setVolume(image, 0);
  if (page.outlined) {
    nv.createEmptyDrawing();
    nv.drawBitmap.set(await unpack("outlines"));
    nv.refreshDrawing(false);
  }
  showOutline();
}

if (!document.createElement("canvas").getContext("webgl2")) {
  message("This browser cannot draw volumes (it has no WebGL 2); try another one, or read the report.");
  document.documentElement.dataset.state = "failed";
} else {
  start().catch((error) => {
    message(`The images cannot be shown (${error.message}); try another browser, or read the report.`);
    document.documentElement.dataset.state = "failed";
    console.error(error);
  });
}
