// The dashboard's only script: theme, links out of Airflow's frame, fresh figures while something runs, charts.
"use strict";

const page = document.documentElement;

// Airflow keeps its theme here. Where it keeps none, or "system", the browser's own holds.
function takeTheme() {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") page.dataset.theme = theme;
  else delete page.dataset.theme;
}

// Airflow shows us in a frame whose sandbox forbids every way out but its own history.
function inAirflow() {
  try {
    return window.parent !== window && window.parent.location.origin === location.origin;
  } catch {
    return false;
  }
}

function leaveFrame(event) {
  const link = event.target.closest("a[data-airflow]");
  if (!link || event.defaultPrevented || !inAirflow()) return;
  event.preventDefault();
  parent.history.pushState({}, "", link.href);
  parent.dispatchEvent(new parent.PopStateEvent("popstate", { state: parent.history.state }));
}

// ---- fresh figures ----

function isBusy(main) {
  return document.hidden || !getSelection().isCollapsed || main.querySelector("input:focus, textarea:focus, select:focus");
}

async function refresh() {
  const main = document.getElementById("main");
  if (isBusy(main)) return refreshLater();
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const focused = document.activeElement?.getAttribute?.("href");
      const opened = [...main.querySelectorAll("details")].map((one) => one.open);
      main.replaceWith(document.adoptNode(fresh.getElementById("main")));
      document.querySelector("footer").replaceWith(document.adoptNode(fresh.querySelector("footer")));
      const now = document.getElementById("main");
      now.querySelectorAll("details").forEach((one, n) => (one.open = opened[n] ?? one.open));
      if (focused) now.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
      draw();
    }
  } catch {
    // the server is away: the next try may find it
  }
  refreshLater();
}

function refreshLater() {
  const seconds = Number(document.getElementById("main").dataset.refresh);
  if (seconds) setTimeout(refresh, 1000 * seconds);
}

// ---- charts ----

const UNITS = {
  bytes: [[1e12, " TB"], [1e9, " GB"], [1e6, " MB"], [1e3, " kB"], [1, " B"]],
  seconds: [[3600, " h"], [60, " min"], [1, " s"]],
  number: [[1e6, " M"], [1e3, " k"], [1, ""]],
};

function written(kind, value, sharp) {
  if (value === null || value === undefined) return "–";
  if (kind === "share") return `${(100 * value).toFixed(sharp ? 1 : 0)} %`;
  if (kind === "number" && sharp) return value.toLocaleString("en-GB", { maximumFractionDigits: value < 100 ? 2 : 0 });
  const [size, unit] = UNITS[kind].find(([least]) => Math.abs(value) >= least) ?? [1, UNITS[kind].at(-1)[1]];
  return (value / size).toLocaleString("en-GB", { maximumFractionDigits: sharp ? 1 : 2 }) + unit;
}

// A canvas knows no custom properties: the page says what colour each stands for.
function colour(name) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function stacked(series) {
  const sums = [];
  return series.map((one) => one.values.map((value, day) => (sums[day] = (sums[day] ?? 0) + (value ?? 0))));
}

function drawOne(place) {
  const told = JSON.parse(place.dataset.chart);
  const isStacked = told.style === "stacked";
  const days = told.days.map((day) => Date.parse(day) / 1000);
  const half = days.length > 1 ? (days[1] - days[0]) / 2 : 43200; // a bar needs as much beside its middle
  const values = isStacked ? stacked(told.series) : told.series.map((one) => one.values);
  const order = told.series.map((_, n) => n);
  if (isStacked) order.reverse(); // the tallest sum first, so that the others are drawn upon it
  let turn = isStacked && told.series.some((one) => one.tone) ? 1 : 0; // the accent is for lines
  const tints = told.series.map((one) => colour(one.tone ? `fill-${one.tone}` : `series-${turn++}`));
  const grid = { stroke: colour("line"), width: 1 };
  const axis = { stroke: colour("soft"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif", gap: 4 };
  const bars = uPlot.paths.bars({ size: [0.8, 24], gap: 0 });
  const options = {
    width: place.clientWidth,
    height: 180,
    cursor: { points: { show: !isStacked }, y: false },
    legend: { live: true },
    scales: { x: { time: true, range: (_, first, last) => (isStacked ? [first - half, last + half] : [first, last]) }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.05 : 1] } },
    axes: [
      { ...axis, size: 24, grid: { show: false }, space: 60, values: (_, ticks) => ticks.map((at) => dayName(at)), incrs: [1, 2, 7, 14, 30, 61, 122].map((n) => n * 86400) },
      { ...axis, size: 56, incrs: told.kind === "seconds" ? [1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400] : undefined, values: (_, ticks) => ticks.map((tick) => written(told.kind, tick)) },
    ],
    series: [
      { label: "Day", value: (_, at) => (at === null ? "–" : new Date(1000 * at).toISOString().slice(0, 10)) },
      ...order.map((n) => ({
        label: told.series[n].label,
        stroke: tints[n],
        fill: isStacked ? tints[n] : undefined,
        width: isStacked ? 0 : 1.5,
        spanGaps: false,
        paths: isStacked ? bars : undefined,
        points: { show: !isStacked && days.length < 100, size: 4, fill: tints[n] },
        value: (_, __, ___, at) => (at === null ? "–" : written(told.kind, told.series[n].values[at], true)),
      })),
    ],
    tzDate: (at) => uPlot.tzDate(new Date(1000 * at), "Etc/UTC"),
  };
  place.replaceChildren();
  new uPlot(options, [days, ...order.map((n) => values[n])], place);
}

function dayName(at) {
  return new Date(1000 * at).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
}

function draw() {
  if (window.uPlot) document.querySelectorAll("[data-chart]").forEach(drawOne);
}

function redrawLater() {
  clearTimeout(redrawLater.timer);
  redrawLater.timer = setTimeout(draw, 150);
}

takeTheme();
addEventListener("storage", () => {
  takeTheme();
  draw();
});
addEventListener("click", leaveFrame);
addEventListener("resize", redrawLater);
addEventListener("DOMContentLoaded", () => {
  draw();
  refreshLater();
});
