// Keeps what is shown up to date, and a few keys.  Everything works without it.
"use strict";

const AT_MOST_EVERY_MS = 1000;
const AT_LEAST_EVERY_MS = 20000; // rates and ages change though nothing else does
const live = document.getElementById("live");
let source = null;
let timer = null;
let looked = 0;

const regions = () => [...document.querySelectorAll("[data-live]")];

// Somebody is in the middle of something there: leave it as it is.
function isUsed(region) {
  const selection = document.getSelection();
  return (
    (region.contains(document.activeElement) && document.activeElement.matches("input, select, button:not(.copy)")) ||
    region.querySelector("input:checked, details[open]") !== null ||
    (selection !== null && !selection.isCollapsed && region.contains(selection.anchorNode))
  );
}

const nameOf = (element) => element.dataset.copy ?? element.getAttribute("href");

function replace(region, fresh) {
  const known = new Set([...region.querySelectorAll("tr[id]")].map((row) => row.id));
  const focused = region.contains(document.activeElement) ? nameOf(document.activeElement) : undefined;
  for (const row of fresh.querySelectorAll("tr[id]")) {
    if (!known.has(row.id)) row.classList.add("new");
  }
  region.replaceWith(fresh);
  if (focused) [...fresh.querySelectorAll("a[href], .copy")].find((one) => nameOf(one) === focused)?.focus();
}

async function look() {
  timer = null;
  looked = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.redirected || !answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const region of regions()) {
      const fresh = page.getElementById(region.id);
      if (isUsed(region)) continue;
      if (fresh === null) region.remove();
      else if (fresh.innerHTML !== region.innerHTML) replace(region, document.adoptNode(fresh));
    }
    document.dispatchEvent(new Event("receiver:looked"));
  } catch {
    // The next change asks again.
  }
}

function soon() {
  if (timer === null) timer = setTimeout(look, Math.max(0, looked + AT_MOST_EVERY_MS - Date.now()));
}

// Browsers open few connections to one host: only the page that is looked at keeps one.
function follow() {
  if (document.hidden || regions().length === 0) {
    source?.close();
    source = null;
    return;
  }
  if (source !== null) return;
  source = new EventSource("/ui/live");
  source.addEventListener("changed", soon);
  source.onopen = () => {
    live.textContent = "Live";
    soon();
  };
  source.onerror = () => {
    live.textContent = source.readyState === EventSource.CLOSED ? "Not live: reload the page" : "Connecting…";
  };
}

function again() {
  if (source !== null && Date.now() - looked >= AT_LEAST_EVERY_MS) soon();
}

async function copy(event) {
  const button = event.target.closest("button[data-copy]");
  if (button === null) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    // Over plain http there is no clipboard: the old way is left.
    const field = document.body.appendChild(document.createElement("textarea"));
    field.value = button.dataset.copy;
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  button.textContent = "Copied";
}

const PLACES = { o: "/", e: "/ui/events", d: "/ui/deliveries", b: "/ui/batches", r: "/ui/rejections" };
let gone = 0;

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const help = document.getElementById("help");
  if (help === null || help.open) return;
  if (Date.now() - gone < 1500 && event.key in PLACES) {
    location.href = PLACES[event.key];
  } else if (event.key === "?") {
    help.showModal();
  } else if (event.key === "/") {
    event.preventDefault();
    const search = document.querySelector("[data-search]");
    if (search) search.focus();
    else location.href = PLACES.e;
  }
  gone = event.key === "g" ? Date.now() : 0;
}

document.addEventListener("visibilitychange", follow);
document.addEventListener("keydown", press);
document.addEventListener("click", copy);
setInterval(again, AT_LEAST_EVERY_MS / 4);
document.documentElement.classList.add("scripted");
if (live !== null) {
  document.getElementById("hint").hidden = false;
  follow();
}
