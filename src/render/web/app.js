// SPDX-License-Identifier: GPL-2.0-or-later
// What the controls do.
const $ = (id) => document.getElementById(id);
let searchHit = null, tables = {}, stale = new Set();

const flame = new FlameView($("flame"), state.inverted ? "down" : "up");
const callers = new FlameView($("callers"), "up");
const callees = new FlameView($("callees"), "down");
const treemap = D.ladder ? new Treemap($("treemap")) : null;

function say(text) {
	$("status").textContent = text || standing();
}

// What is said while nothing is pointed at.
function standing() {
	const parts = [];
	if (state.search) {
		const hits = active.filter((r) => hasAny(r, searchHit));
		let n = 0;
		for (let f = 0; f < N_FUNCS; f++)
			n += searchHit[f];
		parts.push("Matched " + percentText(sum(hits, weight), total) + " in " + n +
			(D.ladder ? " owner" : " function") + (n === 1 ? ": " : "s: ") + state.search.source);
	}
	if (state.focus || state.ignore)
		parts.push("Showing " + valueText(total) + " in " + countText(active.length) +
			(D.ladder ? " rows" : " stacks") +
			(state.focus ? " with " + state.focus.source : "") +
			(state.ignore ? " without " + state.ignore.source : ""));
	return parts.join(" \u00b7 ") || "Click: zoom \u00b7 " + (D.ladder ? "" : "Shift-click: sandwich \u00b7 ") +
		"Ctrl-F or /: search \u00b7 arrows, Enter: walk \u00b7 1-" + Object.keys(shows).length + ": tabs \u00b7 Esc: back";
}

// ---- views, made when they are looked at

function showFlame() {
	flame.grows = state.inverted ? "down" : "up";
	flame.setTree(makeTree(active, state.reverse ? -1 : 1, null, "all"));
}

function searched(rows) {
	return state.search ? rows.filter((r) => searchHit[r.func]) : rows;
}

function showFunctions() {
	tables.functions = new TableView($("functions"), functionColumns(false), (r) => pick(r.func));
	tables.functions.setRows(searched(functionRows()));
}

function showSandwich() {
	const rows = functionRows();
	tables.picker = new TableView($("picker"), functionColumns(true), (r) => pick(r.func));
	tables.picker.setRows(searched(rows));
	if (!rows.some((r) => r.func === state.func)) {
		// the most telling one: the heaviest function that is not a whole trunk
		const best = rows.slice().sort((a, b) => b.total - a.total)
			.find((r) => r.total < 0.98 * total) || rows[0];
		state.func = best ? best.func : -1;
	}
	tables.picker.picked = tables.picker.rows.find((r) => r.func === state.func) || null;
	tables.picker.paint();
	sandwichOf(state.func);
}

function sandwichOf(func) {
	if (func < 0) {
		callers.setTree(null);
		callees.setTree(null);
		return;
	}
	const rows = rowsWith(func), where = new Map(rows.map((r) => [r, outermost(r, func)]));
	const anchor = (r) => where.get(r);
	callers.zoomed = callees.zoomed = null;
	callers.setTree(makeTree(rows, -1, anchor, names[func], func));
	callees.setTree(makeTree(rows, 1, anchor, names[func], func));
	$("middle").textContent = names[func] + " \u00b7 " + valueText(sum(rows, weight)) + " \u00b7 " +
		percentText(sum(rows, weight), total) + " \u2014 callees below";
}

function showStacks() {
	const rows = (state.search ? active.filter((r) => hasAny(r, searchHit) ||
		state.search.test(labelText({ row: r }))) : active)
		.map((r) => ({ row: r, value: D.values[state.type][r] }));
	$("stack-detail").replaceChildren();
	tables.stacks = new TableView($("stacks"), stackColumns(), showStack);
	tables.stacks.setRows(rows);
}

function showStack(r) {
	const list = document.createElement("ol"), head = document.createElement("b");
	head.textContent = valueText(r.value, state.type, isDiff()) + "   " + labelText(r) +
		(!isDiff() && D.types[state.type].interval ? "   " + intervalText([r.row]) : "");
	for (let k = stacks.start[r.row + 1] - 1; k >= stacks.start[r.row]; k--) {
		const li = document.createElement("li"), module = document.createElement("span");
		li.textContent = names[stacks.flat[k]].slice(0, 4000) + "  ";
		module.textContent = modules[moduleOf[stacks.flat[k]]];
		li.append(module);
		list.append(li);
	}
	$("stack-detail").replaceChildren(head, list);
}

function cells(tag, texts, numeric) {
	const tr = document.createElement("tr");
	texts.forEach((text, i) => {
		const c = document.createElement(tag);
		c.textContent = text;
		c.className = numeric && numeric[i] ? "num" : "";
		tr.append(c);
	});
	return tr;
}

function showReport() {
	const all = [], figures = document.createElement("table");
	for (const f of D.figures)
		figures.append(cells("td", f));
	all.push(figures);
	for (const t of D.tables) {
		const h = document.createElement("h2"), table = document.createElement("table");
		h.textContent = t.key;
		table.append(cells("th", t.columns, t.numeric));
		for (const row of t.rows)
			table.append(cells("td", row, t.numeric));
		all.push(h, table);
	}
	$("report").replaceChildren(...all);
}

function showTreemap() {
	treemap.setTree(makeTree(active, 1, null, "all"));
}

// A ladder's rows have an owner and no callers: no sandwich.
const shows = D.ladder ? { treemap: showTreemap, flame: showFlame, functions: showFunctions,
	stacks: showStacks, report: showReport } : { flame: showFlame, sandwich: showSandwich,
	functions: showFunctions, stacks: showStacks, report: showReport };

function openTab(name) {
	state.tab = name;
	for (const b of document.querySelectorAll("nav button"))
		b.setAttribute("aria-selected", b.dataset.tab === name);
	for (const s of document.querySelectorAll("main section"))
		s.classList.toggle("on", s.id === "tab-" + name);
	if (stale.delete(name))
		shows[name]();
	else
		zoomables().forEach((v) => v.layout());
	updateReset();
	say("");
}

function refresh() {
	applyFilters();
	stale = new Set(Object.keys(shows));
	openTab(state.tab);
}

function pick(func) {
	if (D.ladder)
		return;
	state.func = func;
	if (state.tab === "sandwich") {
		sandwichOf(func);
	} else {
		stale.add("sandwich");
		openTab("sandwich");
	}
}

// ---- zoom

function zoomables() {
	return state.tab === "flame" ? [flame] : state.tab === "treemap" ? [treemap] : state.tab === "sandwich" ? [callers, callees] : [];
}

function updateReset() {
	$("reset").disabled = zoomables().every((v) => v.atRoot);
}

function resetZoom() {
	for (const v of zoomables()) {
		v.cursor = null;
		if (v.tree)
			v.zoom(v.tree.root);
	}
}

for (const v of [flame, callers, callees, treemap].filter(Boolean)) {
	v.onZoom = updateReset;
	v.onPick = pick;
}

// ---- patterns

function compile(input) {
	input.classList.remove("bad");
	try {
		return input.value ? new RegExp(input.value) : null;
	} catch (e) {
		input.classList.add("bad");
		return undefined;
	}
}

function onPattern(id, apply) {
	let timer;
	$(id).addEventListener("input", () => {
		clearTimeout(timer);
		timer = setTimeout(() => {
			const re = compile($(id));
			if (re !== undefined)
				apply(re);
		}, 150);
	});
}

onPattern("focus", (re) => { state.focus = re; refresh(); });
onPattern("ignore", (re) => { state.ignore = re; refresh(); });
onPattern("search", (re) => {
	state.search = re;
	searchHit = re && matching(re, true);
	for (const name of ["functions", "stacks", "sandwich"])
		stale.add(name);
	if (state.tab !== "flame" && stale.delete(state.tab))
		shows[state.tab]();
	for (const v of [flame, callers, callees, treemap].filter(Boolean))
		v.paint();
	say("");
});

// ---- keyboard

function key(e) {
	const typing = e.target.matches("input.pattern, select");
	const plain = !e.ctrlKey && !e.metaKey && !e.altKey;
	if ((!plain && e.key.toLowerCase() === "f" && !e.altKey) || (plain && !typing && e.key === "/")) {
		$("search").focus();
		$("search").select();
	} else if (!plain) {
		return;
	} else if (e.key === "Escape" && typing) {
		e.target.value = "";
		e.target.dispatchEvent(new Event("input"));
		e.target.blur();
	} else if (typing) {
		return;
	} else if (e.key === "Escape" || e.key === "0") {
		resetZoom();
	} else if (e.key >= "1" && e.key <= "5") {
		openTab(Object.keys(shows)[+e.key - 1]);
	} else if (!zoomables().length || !zoomOf(e).key(e)) {
		return;
	}
	e.preventDefault();
}

function zoomOf(e) {
	return zoomables().find((v) => v.element.contains(document.activeElement)) || zoomables()[0];
}

// ---- start

function option(value, text) {
	const o = document.createElement("option");
	o.value = value;
	o.textContent = text;
	return o;
}

function nameTabs() {
	const titles = { treemap: "Treemap", flame: "Icicle", functions: "Owners", stacks: "Rows" };
	const nav = document.querySelector("nav");
	for (const b of document.querySelectorAll("nav button")) {
		b.hidden = !shows[b.dataset.tab];
		b.textContent = titles[b.dataset.tab] || b.textContent;
	}
	$("focus").placeholder = $("ignore").placeholder = "owners with";
	nav.prepend(nav.querySelector("[data-tab=treemap]"));
}

function start() {
	document.title = D.title;
	$("title").textContent = D.title;
	$("amount").textContent = D.amount;
	$("trust").textContent = D.trust;
	$("trust").classList.toggle("warn", D.warn);
	D.types.forEach((t, i) => t.helper || $("type").append(option(i, t.text)));
	$("type").value = state.type;
	$("type-tool").hidden = D.types.filter((t) => !t.helper).length < 2;
	const keys = [...new Set(D.label_sets.flat().map((l) => l[0]))];
	$("group").append(option("", "nothing"), ...keys.map((k) => option(k, k)));
	$("group-tool").hidden = !keys.length;
	$("reverse").checked = state.reverse;
	$("inverted").checked = state.inverted;
	if (D.ladder)
		nameTabs();
	$("type").addEventListener("change", (e) => { state.type = +e.target.value; refresh(); });
	$("group").addEventListener("change", (e) => { state.group = e.target.value; refresh(); });
	$("order").addEventListener("change", (e) => { state.order = e.target.value; refresh(); });
	$("reverse").addEventListener("change", (e) => {
		state.reverse = e.target.checked;
		flame.zoomed = null;
		refresh();
	});
	$("inverted").addEventListener("change", (e) => { state.inverted = e.target.checked; refresh(); });
	$("reset").addEventListener("click", resetZoom);
	for (const b of document.querySelectorAll("nav button"))
		b.addEventListener("click", () => openTab(b.dataset.tab));
	window.addEventListener("keydown", key);
	dark.addEventListener("change", () => [flame, callers, callees, treemap].filter(Boolean)
		.forEach((v) => v.paint()));
	refresh();
	// for whoever drives the page from outside
	window.memwho = { flame, callers, callees, treemap, data: D, intervalOf };
	document.documentElement.dataset.ready = "1";
}

start();
