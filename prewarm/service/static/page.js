// The frame of the page: asking the service, drawing helpers, which view is shown, at which site.
// Names of images are data: they only ever become text nodes.
"use strict";

const EVERY = 60_000; // ms between looks
const SOONER = 3_000; // ... while there is nothing to show
const TRIES = 20; // times that what is still being computed is asked for
const main = document.querySelector("main");
const status_ = document.querySelector("#status");
const login = document.querySelector("#login");
const picker = document.querySelector("#site");
const views = {}; // name -> what fills it: async (section, site, rest of the address)
let token = sessionStorage.getItem("prewarm-token") || "";
let skew = 0; // ms that the service's clock is ahead of the browser's
let sites = []; // as /v1/sites tells them

class Refused extends Error {
  constructor(code, detail) { super(detail); this.code = code; }
}

async function asked(path, query = {}) {
  const url = new URL(path, document.baseURI);
  url.search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  for (let tries = 1; ; tries++) {
    const answer = await fetch(url, { headers, cache: "no-cache" }); // with the ETag: a look is a look
    const date = answer.headers.get("date");
    if (date) skew = new Date(date) - Date.now();
    if (answer.ok) return answer;
    const later = answer.status === 503 && Number(answer.headers.get("retry-after"));
    const told = await answer.json();
    if (!later || tries >= TRIES || !path.startsWith("v1/") || told.type !== "about:blank") throw new Refused(answer.status, told.detail);
    await new Promise((done) => setTimeout(done, 1000 * later));
  }
}

const read = async (path, query) => (await asked(path, query)).json();

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// docker.io/library/nginx:1.25 is nginx:1.25 to everybody.
const short = (image) => image.replace(/^docker\.io\/(library\/)?/, "");
const counted = (count, noun, plural = `${noun}s`) => `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;
const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`);
const now = () => Date.now() + skew;
const clock = (zone, options) => new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options });
const moment = (text, zone) =>
  clock(zone, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }).format(new Date(text));

function ago(text) {
  const minutes = Math.max(0, Math.round((now() - new Date(text)) / 60_000));
  if (minutes < 2) return "just now";
  if (minutes < 120) return `${minutes} minutes ago`;
  return minutes < 2880 ? `${Math.round(minutes / 60)} hours ago` : `${Math.round(minutes / 1440)} days ago`;
}

function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

function took(seconds) {
  return seconds < 120 ? `${Math.round(seconds)} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function cells(...values) {
  const line = element("tr");
  for (const value of values) {
    const cell = element("td");
    cell.append(value === null || value === undefined ? "–" : value);
    line.append(cell);
  }
  return line;
}

// A table that scrolls by itself where it is wider than the screen; `label` says what it is.
function table(label, heads, rows) {
  const made = element("table"), head = element("thead"), line = element("tr"), body = element("tbody");
  line.append(...heads.map((name) => { const cell = element("th", name); cell.scope = "col"; return cell; }));
  head.append(line);
  body.append(...rows.map((row) => cells(...row)));
  made.append(head, body);
  const box = element("div", undefined, "scroll");
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", label);
  box.append(made);
  return box;
}

function tile(words, value, more) {
  const made = element("div", undefined, "tile");
  made.append(element("span", words, "name"), element("strong", value), element("span", more || "", "note"));
  return made;
}

function imageLink(image) {
  const made = element("a", short(image));
  made.href = `#image/${encodeURI(image)}`;
  made.title = image;
  return made;
}

const empty = (...parts) => { const made = element("div", undefined, "empty"); made.append(...parts); return made; };
const dark = matchMedia("(prefers-color-scheme: dark)");

// A figure that the notebooks draw, too; what it shows in words stands beside it, and is its alternative text.
async function figure(name, query, words) {
  const answer = await asked(`v1/figures/${name}`, { ...query, scheme: dark.matches ? "dark" : "light" });
  const made = element("img", undefined, "figure");
  made.alt = words;
  made.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(await answer.text())}`;
  return made;
}

// Fill a place when its content is there; what is refused is told in that place and nowhere else.
// Of several questions for one place only the last is answered there, however long the others took.
const turns = new WeakMap();
async function fill(place, make) {
  const turn = (turns.get(place) || 0) + 1, over = () => turns.get(place) !== turn;
  turns.set(place, turn);
  place.setAttribute("aria-busy", "true");
  if (!place.hasChildNodes()) place.append(element("p", "Being computed…", "note"));
  try {
    const made = [await make()].flat().filter((each) => each !== undefined && each !== null);
    if (!over()) place.replaceChildren(...made);
  } catch (refused) {
    if (over()) return;
    if (!refused.code || refused.code === 401) throw refused;
    place.replaceChildren(element("p", refused.message, "bad"));
  } finally {
    if (!over()) place.removeAttribute("aria-busy");
  }
}

function address() {
  const [name, ...rest] = decodeURI(location.hash.slice(1)).split("/");
  return name in views ? [name, rest.join("/")] : ["now", ""];
}

function nothingYet(refused) {
  const told = empty(element("h2", "Nothing to show yet"), element("p", refused.message));
  if (refused.code === 409) told.append(element("pre", "prewarm ingest /var/log/registry/access.log"), element("p", "This page looks again by itself."));
  return told;
}

function pickSites() {
  const names = sites.map((site) => site.site);
  if (names.join("\n") !== [...picker.options].map((each) => each.value).join("\n")) {
    const before = picker.value || sessionStorage.getItem("prewarm-site");
    picker.replaceChildren(...names.map((name) => new Option(name, name)));
    const busiest = sites.filter((site) => !site.unknown).sort((a, b) => b.pulls - a.pulls)[0];
    const known = sites.find((site) => site.site === before) || busiest || sites[0];
    if (known) picker.value = known.site;
  }
  picker.parentElement.hidden = sites.length === 0;
}

const chosen = () => sites.find((site) => site.site === picker.value);

async function show() {
  const [name, rest] = address();
  for (const section of main.querySelectorAll(".view")) section.hidden = section.id !== name || (!sites.length && name !== "runs");
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} – prewarm`;
  if (sites.length || name === "runs") await views[name](document.getElementById(name), chosen(), rest);
}

let again; // the one timer of the next look
async function look() {
  const used = token;
  let soon = false;
  main.setAttribute("aria-busy", "true");
  try {
    let nothing = [];
    try {
      const told = await read("v1/sites");
      sites = told.sites;
      status_.textContent = `${counted(told.total, "site")}, forecast made ${ago(told.at)}`;
    } catch (refused) {
      if (!refused.code || refused.code === 401 || refused.code === 403) throw refused;
      sites = [];
      nothing = [nothingYet(refused)];
      status_.textContent = "Nothing to show yet.";
      soon = true;
    }
    document.querySelector("#nothing").replaceChildren(...nothing);
    pickSites();
    login.hidden = true;
    status_.className = "";
    await show();
  } catch (refused) {
    if (refused.code && token !== used) return; // somebody has typed another one meanwhile
    // A wrong token is not sent again: the service lets an address wait that has too many of them.
    if (refused.code === 401) {
      token = "";
      sessionStorage.removeItem("prewarm-token");
    }
    if (refused.code === 401 || refused.code === 403) login.hidden = refused.code === 403 && !token;
    status_.textContent = refused.code ? refused.message : "The service does not answer; what is shown is old.";
    status_.className = "bad";
  }
  main.removeAttribute("aria-busy");
  clearTimeout(again);
  again = setTimeout(look, soon ? SOONER : EVERY);
}

login.addEventListener("submit", (event) => {
  event.preventDefault();
  token = document.querySelector("#token").value;
  sessionStorage.setItem("prewarm-token", token);
  look();
});
picker.addEventListener("change", () => {
  sessionStorage.setItem("prewarm-site", picker.value);
  for (const body of main.querySelectorAll(".view .body, .view .tiles")) body.replaceChildren();
  look();
});
addEventListener("hashchange", async () => {
  await look();
  document.querySelector(`#${address()[0]} h2`).focus(); // who hears the page is told where it went
});
dark.addEventListener("change", look);
addEventListener("DOMContentLoaded", look);
