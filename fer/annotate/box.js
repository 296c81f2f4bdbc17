"use strict";
// The box of the face over the picture: left, top, right, bottom in pixels of the file.
const STEP = 0.02, LEAST = 0.02;  // of the picture's shorter side: a key's step, the smallest side
let box = null, size = [1, 1], asked = 0;

function hasBox() { return !answers.boxes || box !== null; }

function faceBox() { return answers.boxes && box ? box : []; }

async function suggestBox(now) {
  const mine = ++asked;
  let found = null;
  box = null;
  ready = false;
  $("box").hidden = true;
  $("box").blur();
  while (!found && mine === asked) {
    try {
      const response = await fetch(address(now.picture, "box"));
      found = response.ok ? await response.json() : { size: [1, 1], box: [] };
    } catch { await new Promise((done) => setTimeout(done, RETRY_MS)); }
  }
  if (mine !== asked) return;
  size = found.size;
  const own = now.before && now.before.box.length ? now.before.box : now.box;
  box = own.length ? own : found.box;
  placeBox();
  if (loaded) startTimer();
  if (now.next) fetch(address(now.next, "box")).catch(() => {});  // the server keeps what it found
}

function scale() {
  return Math.min($("picture").clientWidth / size[0], $("picture").clientHeight / size[1]);
}

function placeBox() {
  $("box").hidden = !box || !box.length;
  if ($("box").hidden) return;
  const by = scale(), style = $("box").style;
  const left = ($("picture").clientWidth - size[0] * by) / 2;
  const top = ($("picture").clientHeight - size[1] * by) / 2;
  style.left = `${left + box[0] * by}px`;
  style.top = `${top + box[1] * by}px`;
  style.width = `${(box[2] - box[0]) * by}px`;
  style.height = `${(box[3] - box[1]) * by}px`;
}

function moveEdges(start, edges, dx, dy) {
  const least = Math.min(...size) * LEAST, now = [...start];
  for (const axis of [0, 1]) {
    const wanted = axis ? dy : dx, own = edges.filter((edge) => edge % 2 === axis);
    if (own.length === 2) {
      const moved = Math.min(Math.max(wanted, -start[axis]), size[axis] - start[axis + 2]);
      for (const edge of own) now[edge] = start[edge] + moved;
    } else if (own[0] === axis) {
      now[axis] = Math.min(Math.max(start[axis] + wanted, 0), start[axis + 2] - least);
    } else if (own.length) {
      now[axis + 2] = Math.max(Math.min(start[axis + 2] + wanted, size[axis]), start[axis] + least);
    }
  }
  box = now.map((edge) => Math.round(edge * 10) / 10);
  placeBox();
}

function boxKey(event) {
  const step = Math.min(...size) * STEP;
  const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
  if (way) moveEdges(box, event.shiftKey ? [2, 3] : [0, 1, 2, 3], ...way);
  else if (event.key === "Enter" || event.key === "Escape") $("box").blur();
  else return false;
  event.preventDefault();
  return true;
}

$("box").addEventListener("pointerdown", (event) => {
  event.preventDefault();  // the keys stay with the page
  const start = [...box], edges = (event.target.dataset.edges || "0 1 2 3").split(" ").map(Number);
  const drag = (now) => moveEdges(
    start, edges, (now.clientX - event.clientX) / scale(), (now.clientY - event.clientY) / scale());
  const stop = () => $("box").removeEventListener("pointermove", drag);
  $("box").setPointerCapture(event.pointerId);
  $("box").addEventListener("pointermove", drag);
  $("box").addEventListener("lostpointercapture", stop, { once: true });
});
new ResizeObserver(placeBox).observe($("picture"));
$("box_keys").hidden = !answers.boxes;
