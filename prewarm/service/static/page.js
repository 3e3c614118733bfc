// What each site will pull, and when it pulls. Names are data: they only ever become text nodes.
"use strict";

const EVERY = 60_000; // ms between looks
const TOP = 10;
const LEVELS = 5;
const place = document.querySelector("#sites");
const status_ = document.querySelector("#status");
const login = document.querySelector("#login");
const picked = document.querySelector("#window");
let token = sessionStorage.getItem("prewarm-token") || "";

class Refused extends Error {
  constructor(code, detail) { super(detail); this.code = code; }
}

async function read(path, query = {}) {
  const url = new URL(path, document.baseURI);
  url.search = new URLSearchParams(query);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(url, { headers, cache: "no-cache" }); // with the ETag: a look is a look
  const told = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, told.detail);
  return told;
}

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// docker.io/library/nginx:1.25 is nginx:1.25 to everybody.
const short = (image) => image.replace(/^docker\.io\/(library\/)?/, "");

const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

const clock = (zone, options) => new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options });
const moment = (text, zone) =>
  clock(zone, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }).format(new Date(text));

function ago(text) {
  const minutes = Math.max(0, Math.round((Date.now() - new Date(text)) / 60_000));
  if (minutes < 2) return "just now";
  if (minutes < 120) return `${minutes} minutes ago`;
  return minutes < 2880 ? `${Math.round(minutes / 60)} hours ago` : `${Math.round(minutes / 1440)} days ago`;
}

function rows(ranking) {
  const most = Math.max(...ranking.map((row) => row.mean), 1e-9);
  return ranking.map((row) => {
    const line = element("tr");
    const name = element("td", short(row.image));
    name.title = row.image;
    const bar = element("span", undefined, "bar");
    bar.style.width = `calc(${(100 * row.mean) / most}% - .8rem)`;
    name.append(bar);
    line.append(element("td", row.rank), name, element("td", row.mean.toFixed(1)), element("td", row.probability.toFixed(2)));
    return line;
  });
}

function heat(table, told) {
  const most = Math.max(...told.pulls_an_hour.flat().filter((pulls) => pulls !== null), 0);
  const now = clock(told.timezone, { weekday: "short", hour: "2-digit", hourCycle: "h23" }).formatToParts(new Date());
  const part = (type) => now.find((each) => each.type === type).value;
  const head = element("thead"), body = element("tbody"), line = element("tr");
  line.append(element("td"));
  for (let hour = 0; hour < 24; hour += 3) {
    const label = element("th", String(hour).padStart(2, "0"));
    label.colSpan = 3;
    line.append(label);
  }
  head.append(line);
  told.weekdays.forEach((day, row) => {
    const week = element("tr");
    const label = element("th", day);
    label.scope = "row";
    week.append(label);
    told.pulls_an_hour[row].forEach((pulls, hour) => {
      const level = pulls === null ? "none" : pulls <= 0 ? "l0" : `l${Math.max(1, Math.ceil((LEVELS * pulls) / most))}`;
      const cell = element("td", undefined, level);
      const words = pulls === null ? "not observed" : `${pulls.toFixed(1)} pulls an hour`;
      cell.title = `${day} ${String(hour).padStart(2, "0")}:00, ${words}`;
      cell.append(element("span", pulls === null ? "–" : pulls.toFixed(1), "quiet"));
      if (day === part("weekday") && hour === Number(part("hour"))) cell.classList.add("now");
      week.append(cell);
    });
    body.append(week);
  });
  table.append(head, body);
  return most;
}

function scale(into, most, zone) {
  into.append("0");
  for (let level = 1; level <= LEVELS; level++) into.append(element("i", undefined, `l${level}`));
  into.append(`${most.toFixed(1)} pulls an hour; hours of ${zone}, now outlined`);
}

async function card(site) {
  const made = document.querySelector("#site").content.cloneNode(true);
  const article = made.querySelector("article");
  article.querySelector("h2").textContent = site.site;
  const facts = article.querySelector(".facts");
  if (site.unknown) {
    facts.textContent = site.unknown;
    article.querySelector(".columns").remove();
    return article;
  }
  facts.textContent =
    `${counted(site.pulls, "pull")} read, the last one ${ago(site.last)}; ${counted(site.images, "image")} in demand. ` +
    `Next peak ${moment(site.peak.time, site.timezone)}: ${site.peak.mean.toFixed(1)} pulls.`;
  const [ranked, week] = await Promise.all([
    read("v1/rankings", { site: site.site, hours: picked.value, limit: TOP }),
    read("v1/rhythm", { site: site.site }),
  ]);
  article.querySelector("tbody").append(...rows(ranked.ranking));
  const note = article.querySelector(".note");
  note.textContent =
    `${Math.min(TOP, ranked.total)} of ${counted(ranked.total, "image")}, by model ${ranked.model}, known until ` +
    `${moment(site.cutoff, site.timezone)}.`;
  note.after(...ranked.warnings.map((text) => element("p", text, "warning")));
  const most = heat(article.querySelector(".rhythm table"), week);
  scale(article.querySelector(".scale"), most, week.timezone);
  return article;
}

function empty(refused) {
  const told = element("section", undefined, "empty");
  told.append(element("h2", "Nothing to show yet"), element("p", refused.message));
  if (refused.code === 409) {
    told.append(element("pre", "prewarm ingest /var/log/registry/access.log"), element("p", "This page looks again by itself."));
  }
  return told;
}

async function look() {
  const used = token;
  try {
    const told = await read("v1/sites");
    const cards = await Promise.all(told.sites.map(card));
    place.replaceChildren(...cards);
    status_.textContent = `${counted(told.total, "site")}, forecast made ${ago(told.at)}`;
    status_.className = "";
    login.hidden = true;
  } catch (refused) {
    // A wrong token is not sent again: the service lets an address wait that has too many of them.
    if (refused.code === 401 && token === used) {
      token = "";
      sessionStorage.removeItem("prewarm-token");
    }
    if (refused.code === 401 || refused.code === 403) login.hidden = refused.code === 403 && !token;
    else if (refused.code) place.replaceChildren(empty(refused));
    status_.textContent = refused.code ? refused.message : "The service does not answer; what is shown is old.";
    status_.className = "bad";
  }
  place.setAttribute("aria-busy", "false");
}

login.addEventListener("submit", (event) => {
  event.preventDefault();
  token = document.querySelector("#token").value;
  sessionStorage.setItem("prewarm-token", token);
  look();
});
picked.addEventListener("change", look);
setInterval(look, EVERY);
look();
