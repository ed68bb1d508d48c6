// The page of the service: send a stack, follow it, look at it, take its mask. It talks to /v1 of its own origin only.
const byId = (id) => document.getElementById(id);
const TOKEN = "capillary-token"; // of this tab alone
const POLL_MS = 1000, AWAY_MS = 5000;
let viewer = null;

async function call(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) byId("token-form").hidden = false;
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    const error = body.error ?? { what: `the service answered ${answer.status}`, remedy: "try again" };
    const remedy = answer.status === 401 ? "enter your token above" : error.remedy; // nobody types a header in a browser
    throw new Error(`${error.what} – ${remedy}`);
  }
  return answer;
}

function problem(text) { byId("problem").textContent = text; }

async function send(file) {
  problem("");
  const body = new FormData();
  const spacing = byId("spacing").value.replace(/\s/g, "");
  if (spacing) body.append("spacing_um", spacing);
  const dataset = byId("dataset").value.trim();
  if (dataset) body.append("dataset", dataset);
  body.append("view", "yes");
  body.append("stack", file);
  try {
    await call("/v1/jobs", { method: "POST", body });
    await refresh();
  } catch (error) { problem(error.message); }
}

const rows = new Map(); // by the job's id: a row is made anew only when its state changes, so that focus stays

let nextLook; // one chain of looks, however often something asks for one

async function refresh() {
  clearTimeout(nextLook);
  let jobs;
  try { jobs = (await (await call("/v1/jobs")).json()).jobs; } catch (error) {
    problem(error.message);
    clearTimeout(nextLook);
    if (rows.size) nextLook = setTimeout(refresh, AWAY_MS); // the service may only be starting again
    return;
  }
  const now = new Set(jobs.map((job) => job.id));
  for (const [id, row] of rows) if (!now.has(id)) { row.item.remove(); rows.delete(id); }
  jobs.reverse().forEach((job) => show(job)); // the newest on top
  clearTimeout(nextLook);
  if (jobs.some((job) => job.state === "queued" || job.state === "running")) nextLook = setTimeout(refresh, POLL_MS);
}

function show(job) {
  let row = rows.get(job.id);
  if (!row) {
    row = { item: document.createElement("li"), state: "" };
    rows.set(job.id, row);
    byId("jobs").prepend(row.item);
  }
  if (row.state !== job.state) {
    row.state = job.state;
    row.item.replaceChildren(job.request.file_name, document.createElement("br"), ...parts(job, row));
  }
  if (row.bar) {
    row.bar.value = job.progress;
    row.words.textContent = job.state === "queued" ? `${job.ahead ?? 0} ahead ` : `${Math.round(100 * job.progress)} % `;
  }
}

function parts(job, row) {
  const drop = (text) => button(text, () => call(`/v1/jobs/${job.id}`, { method: "DELETE" }).then(refresh));
  row.bar = null;
  if (job.state === "queued" || job.state === "running") {
    row.bar = document.createElement("progress");
    row.bar.setAttribute("aria-label", `progress of ${job.request.file_name}`);
    row.words = document.createElement("span");
    return [row.bar, row.words, drop("Cancel")];
  }
  if (job.state === "done") return [button("View", () => look(job)), button("Download", () => save(job, "mask")), drop("Remove")];
  const why = job.failure ? `: ${job.failure.what} – ${job.failure.remedy}` : "";
  return [`${job.state}${why} `, drop("Remove")];
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", () => Promise.resolve(act()).catch((error) => problem(error.message)));
  return made;
}

async function save(job, name) {
  const blob = await (await call(`/v1/jobs/${job.id}/${name}`)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  const suffix = name === "picture" ? ".png" : job.request.mask_suffix;
  link.download = job.request.file_name.slice(0, -job.request.suffix.length) + `_${name}` + suffix;
  link.click();
  URL.revokeObjectURL(link.href);
}

async function look(job) {
  byId("viewer").hidden = false;
  byId("view-title").textContent = job.request.file_name;
  const [z, y, x] = job.result.shape_zyx;
  byId("facts").textContent = `${z} × ${y} × ${x} voxels of ${job.result.spacing_um.join(" × ")} µm, ` +
    `${(100 * job.result.vessel_share).toFixed(1)} % vessel, ${job.result.seconds.toFixed(1)} s, ` +
    `${job.model.name} version ${job.model.version}, weights ${job.model.weights_sha256.slice(0, 12)}`;
  byId("downloads").replaceChildren(...Object.keys(job.links).filter((name) => !name.startsWith("view"))
    .map((name) => button(`Download ${name}`, () => save(job, name))));
  if (!job.links.view_stack) { problem("this stack was sent without `view`, so there is nothing to look at"); return; }
  await draw(job);
  byId("viewer").scrollIntoView({ block: "nearest" }); // on a phone it is below the list
}

async function draw(job) {
  let module;
  try { module = await import("/static/niivue.js"); } catch {
    problem("the viewer is not installed – run serving/page/build.sh, or use the service's image");
    return;
  }
  const volumes = [];
  for (const [name, colormap, opacity, brightest] of [["view_stack", "gray", 1, 255], ["view_mask", "red", 0.5, 1]]) {
    const blob = await (await call(`/v1/jobs/${job.id}/${name}`)).blob();
    volumes.push({ url: URL.createObjectURL(blob), name: `${name}.nii.gz`, colormap, opacity, cal_min: 0, cal_max: brightest });
  }
  if (!viewer) {
    viewer = new module.Niivue({
      backColor: [0, 0, 0, 1],
      crosshairWidth: 0, // it would hide vessels
      show3Dcrosshair: false,
      isOrientationTextVisible: false, // a microscope's stack has no left and right of a patient
      isColorbar: false,
      loadingText: "",
    });
    viewer.attachToCanvas(byId("canvas"));
  }
  await viewer.loadVolumes(volumes);
  volumes.forEach((volume) => URL.revokeObjectURL(volume.url));
  const slices = viewer.volumes[0].dims[3];
  byId("slice").max = slices - 1;
  byId("slice").value = Math.floor(slices / 2);
  view();
}

function view() {
  if (!viewer || !viewer.volumes.length) return;
  const kind = byId("kind").value;
  const slices = Number(byId("slice").max) + 1;
  byId("slice").disabled = kind !== "slices";
  viewer.setOpacity(1, byId("overlay").checked ? 0.5 : 0);
  if (kind === "slices") {
    viewer.setSliceType(viewer.sliceTypeAxial);
    viewer.scene.crosshairPos[2] = (Number(byId("slice").value) + 0.5) / slices;
    byId("slice-number").textContent = `${Number(byId("slice").value) + 1} of ${slices}`;
  } else {
    viewer.setSliceType(viewer.sliceTypeRender);
    viewer.setRenderAzimuthElevation(kind === "projection" ? 0 : 120, kind === "projection" ? 90 : 20);
    byId("slice-number").textContent = "";
  }
  viewer.drawScene();
}

function step(by) {
  const slice = byId("slice");
  slice.value = Number(slice.value) + by;
  view();
}

byId("stack").addEventListener("change", (event) => { if (event.target.files[0]) send(event.target.files[0]); event.target.value = ""; });
byId("drop").addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); byId("stack").click(); } });
for (const kind of ["dragover", "dragleave", "drop"]) {
  byId("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") [...event.dataTransfer.files].forEach(send);
  });
}
byId("send").addEventListener("submit", (event) => event.preventDefault());
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value.trim());
  byId("token").value = "";
  byId("token-form").hidden = true;
  start();
});
for (const id of ["slice", "overlay", "kind"]) byId(id).addEventListener("input", view);
byId("canvas").addEventListener("keydown", (event) => {
  const by = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
  if (by) { event.preventDefault(); step(by); }
});

async function start() {
  problem("");
  try {
    const models = await (await call("/v1/models")).json();
    byId("model").textContent = models.current
      ? `${models.current.name} version ${models.current.versions[0]} answers`
      : `no model answers: ${models.failure ?? "it is being loaded"}`;
    await refresh();
  } catch (error) { problem(error.message); }
}
start();
