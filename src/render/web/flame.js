// SPDX-License-Identifier: GPL-2.0-or-later
// Life for the SVG flame graph: zoom, search, keyboard, full width. Without it
// the picture is complete; with it, everything is laid out anew from data-v.
(function () {
	"use strict";
	const NS = "http://www.w3.org/2000/svg", XHTML = "http://www.w3.org/1999/xhtml";
	const svg = document.currentScript && document.currentScript.ownerSVGElement ||
		document.documentElement;
	const PAD = +svg.dataset.pad, ROW = +svg.dataset.row, TOP = +svg.dataset.top;
	const DEPTH = +svg.dataset.depth, INVERTED = svg.dataset.inverted === "1";
	const CHAR = 7.3, HELP = "Click: zoom \u00b7 Ctrl-F or /: search \u00b7 arrows and Enter: walk \u00b7 " +
		"n: next match \u00b7 Esc: back";
	const byId = (id) => svg.querySelector("#" + id);
	const details = byId("details");
	const frames = [];
	let width = svg.viewBox.baseVal.width, zoomed, cursor = null, matches = [];

	function frameOf(g) {
		const [left, value, depth] = g.dataset.v.split(",").map(Number);
		const lines = g.firstElementChild.textContent.split("\n");
		const rect = g.querySelector("rect");
		return { g, rect, text: g.querySelector("text"), left, value, depth, name: lines[0],
			info: lines[1] || "", y: +rect.getAttribute("y"), hidden: false };
	}
	for (const g of byId("frames").children) {
		const f = frameOf(g);
		g.frame = f;
		frames.push(f);
	}
	const root = zoomed = frames[0];

	// ---- layout

	function label(f, x, w) {
		const chars = Math.floor((w - 5) / CHAR);
		if (chars < 3) {
			if (f.text)
				f.text.textContent = "";
			return;
		}
		if (!f.text) {
			f.text = document.createElementNS(NS, "text");
			f.text.setAttribute("y", f.y + 13);
			f.g.appendChild(f.text);
		}
		f.text.setAttribute("x", (x + 3).toFixed(1));
		f.text.textContent = f.name.length <= chars ? f.name :
			f.name.slice(0, chars - 1) + "\u2026";
	}

	function place(f, x, w) {
		f.rect.setAttribute("x", x.toFixed(2));
		f.rect.setAttribute("width", (w > 2 ? w - 0.5 : w).toFixed(2));
		if (w > 6)
			f.rect.setAttribute("rx", 2);
		else
			f.rect.removeAttribute("rx");
		label(f, x, w);
	}

	function show(f, visible) {
		if (f.hidden === !visible)
			return;
		f.hidden = !visible;
		f.g.style.display = visible ? "" : "none";
	}

	function layout() {
		const scale = (width - 2 * PAD) / zoomed.value, end = zoomed.left + zoomed.value;
		for (const f of frames) {
			const above = f.depth < zoomed.depth && f.left <= zoomed.left &&
				f.left + f.value >= end;
			const inside = f.depth >= zoomed.depth && f.left >= zoomed.left &&
				f.left + f.value <= end;
			f.g.classList.toggle("above", above);
			if (above)
				place(f, PAD, width - 2 * PAD);
			else if (inside)
				place(f, PAD + (f.left - zoomed.left) * scale, f.value * scale);
			show(f, above || inside);
		}
		resetButton.style.display = zoomed === root ? "none" : "";
	}

	function zoom(f) {
		zoomed = f || root;
		layout();
		say(zoomed === root ? "" : text(zoomed));
	}

	// ---- words

	function text(f) {
		return f.name + " \u00b7 " + f.info;
	}

	function cut(s, px) {
		const room = Math.floor((width - 2 * PAD) / px);
		return s.length > room ? s.slice(0, room - 1) + "\u2026" : s;
	}

	function say(s) {
		details.textContent = cut(s || found || HELP, 6.8);
	}

	const heads = ["title", "amount", "trust"].map((id) => [byId(id), byId(id).textContent]);

	// ---- search

	let found = "", input, box;

	// Widths of the topmost matches: a match inside a match counts once.
	function matchedValue() {
		let sum = 0;
		const sorted = matches.slice().sort((a, b) => a.left - b.left || a.depth - b.depth);
		for (let i = 0, end = -1; i < sorted.length; i++) {
			if (sorted[i].left < end)
				continue;
			sum += sorted[i].value;
			end = sorted[i].left + sorted[i].value;
		}
		return sum;
	}

	function search(pattern) {
		let re = null;
		input.classList.remove("bad");
		try {
			re = pattern ? new RegExp(pattern) : null;
		} catch (e) {
			input.classList.add("bad");
		}
		matches = re ? frames.filter((f) => f !== root && (re.test(f.name) ||
			re.test(f.info.split(" \u00b7 ")[0]))) : [];
		const hit = new Set(matches);
		for (const f of frames)
			f.g.classList.toggle("match", hit.has(f));
		found = "";
		if (re)
			found = "Matched " + (root.value ? 100 * matchedValue() / root.value : 0)
				.toFixed(1) + " % in " + matches.length +
				(matches.length === 1 ? " frame: " : " frames: ") + pattern;
		else if (pattern)
			found = "Not a regular expression: " + pattern;
		say("");
	}

	function openSearch() {
		box.style.display = "";
		input.focus();
		input.select();
	}

	function closeSearch() {
		box.style.display = "none";
		input.value = "";
		search("");
		input.blur();
	}

	// ---- keyboard

	function setCursor(f) {
		if (cursor)
			cursor.g.classList.remove("cursor");
		cursor = f;
		if (!f)
			return;
		f.g.classList.add("cursor");
		// its outline is not to be covered by neighbours
		f.g.parentNode.appendChild(f.g);
		f.g.scrollIntoView({ block: "nearest" });
		say(text(f));
	}

	function parentOf(f) {
		return frames.find((p) => p.depth === f.depth - 1 && p.left <= f.left &&
			p.left + p.value >= f.left + f.value) || f;
	}

	function childOf(f) {
		return frames.filter((c) => !c.hidden && c.depth === f.depth + 1 &&
			c.left >= f.left && c.left < f.left + f.value)
			.sort((a, b) => b.value - a.value)[0] || f;
	}

	function beside(f, step) {
		const row = frames.filter((o) => !o.hidden && o.depth === f.depth)
			.sort((a, b) => a.left - b.left);
		return row[row.indexOf(f) + step] || f;
	}

	function nextMatch(step) {
		if (!matches.length)
			return;
		const i = matches.indexOf(cursor);
		const f = matches[(i + step + matches.length) % matches.length];
		if (f.hidden)
			zoom(root);
		setCursor(f);
	}

	function key(e) {
		const typing = e.target === input;
		const at = cursor || zoomed;
		const actions = {
			Enter: () => zoom(at), Backspace: () => zoom(root), "0": () => zoom(root),
			"/": openSearch, n: () => nextMatch(1), N: () => nextMatch(-1),
			ArrowUp: () => setCursor(INVERTED ? parentOf(at) : childOf(at)),
			ArrowDown: () => setCursor(INVERTED ? childOf(at) : parentOf(at)),
			ArrowLeft: () => setCursor(beside(at, -1)),
			ArrowRight: () => setCursor(beside(at, 1)),
			Escape: () => box.style.display === "" ? closeSearch() :
				(setCursor(null), zoom(root)),
		};
		let action = actions[e.key];
		if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "f")
			action = openSearch;
		else if (e.ctrlKey || e.metaKey || e.altKey)
			return;
		else if (typing && e.key === "Enter")
			action = () => { search(input.value); input.blur(); nextMatch(1); };
		else if (typing && e.key !== "Escape")
			return;
		if (!action)
			return;
		e.preventDefault();
		action();
	}

	// ---- controls

	function button(name, title, w, action) {
		const g = document.createElementNS(NS, "g");
		const r = document.createElementNS(NS, "rect");
		const t = document.createElementNS(NS, "text");
		g.setAttribute("class", "button");
		g.id = name;
		r.setAttribute("width", w);
		r.setAttribute("height", 24);
		r.setAttribute("rx", 4);
		t.setAttribute("x", w / 2);
		t.setAttribute("y", 16);
		t.textContent = title;
		g.append(r, t);
		g.addEventListener("click", action);
		byId("head").appendChild(g);
		return g;
	}

	function makeBox() {
		box = document.createElementNS(NS, "foreignObject");
		box.setAttribute("width", 260);
		box.setAttribute("height", 28);
		input = document.createElementNS(XHTML, "input");
		input.id = "pattern";
		input.setAttribute("placeholder", "regular expression");
		input.setAttribute("spellcheck", "false");
		let timer;
		input.addEventListener("input", () => {
			clearTimeout(timer);
			timer = setTimeout(() => search(input.value), 120);
		});
		box.appendChild(input);
		box.style.display = "none";
	}

	// The details and the search field stay in sight while a tall picture scrolls.
	const BAR_Y = 67, bar = document.createElementNS(NS, "g");

	function makeBar() {
		const back = document.createElementNS(NS, "rect");
		back.setAttribute("class", "bg");
		back.setAttribute("y", BAR_Y);
		back.setAttribute("width", "100%");
		back.setAttribute("height", 28);
		bar.id = "bar";
		bar.append(back, details, box);
		byId("head").appendChild(bar);
		window.addEventListener("scroll", () => {
			if (svg === document.documentElement)
				move(bar, 0, Math.max(0, window.scrollY - BAR_Y));
		});
	}

	const searchButton = button("search", "Search", 70, () =>
		box.style.display === "" ? closeSearch() : openSearch());
	const resetButton = button("reset", "Reset zoom", 90, () => zoom(root));
	makeBox();
	makeBar();

	function move(el, x, y) {
		el.setAttribute("transform", "translate(" + x + "," + y + ")");
	}

	// A picture that stands alone is as wide as its window.
	function fit() {
		if (svg === document.documentElement && window.innerWidth) {
			width = Math.max(480, document.documentElement.clientWidth ||
				window.innerWidth);
			const height = svg.viewBox.baseVal.height;
			svg.setAttribute("width", width);
			svg.setAttribute("viewBox", "0 0 " + width + " " + height);
		}
		for (const [line, whole] of heads)
			line.textContent = cut(whole, line.id === "title" ? 12.5 : 6.8);
		move(searchButton, width - PAD - 70, 12);
		move(resetButton, width - PAD - 70 - 100, 12);
		box.setAttribute("x", width - PAD - 260);
		box.setAttribute("y", BAR_Y + 1);
		if (root)
			layout();
		say("");
	}

	svg.addEventListener("click", (e) => {
		const g = e.target.closest("#frames > g");
		if (g)
			zoom(g.frame);
	});
	svg.addEventListener("mouseover", (e) => {
		const g = e.target.closest("#frames > g");
		if (g)
			say(text(g.frame));
	});
	byId("frames").addEventListener("mouseleave", () => say(""));
	window.addEventListener("keydown", key);
	window.addEventListener("resize", fit);
	if (root && root.value) {
		fit();
		// one very deep stack must not leave the first screens empty
		const height = svg.getBoundingClientRect().height;
		if (svg === document.documentElement && !INVERTED &&
		    height > 3 * window.innerHeight)
			window.scrollTo(0, height);
	}
})();
