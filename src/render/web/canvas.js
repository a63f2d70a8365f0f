// SPDX-License-Identifier: GPL-2.0-or-later
// A flame graph on a canvas: the canvas is as large as what is seen of it, a
// spacer gives the scroll bar its length, and the tree grows only where a node
// is at least half a pixel wide.
const ROW_PX = 18, PAD_PX = 12, LEAST_PX = 0.5;
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const tip = document.getElementById("tip");

function cssVar(name) {
	return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

class FlameView {
	// grows: "up" (root below) or "down"
	constructor(element, grows) {
		this.element = element;
		this.grows = grows;
		this.canvas = document.createElement("canvas");
		this.spacer = document.createElement("div");
		element.append(this.canvas, this.spacer);
		this.boxes = [];
		this.cursor = this.hover = this.zoomed = this.tree = null;
		this.onZoom = () => {};
		this.onPick = () => {};
		element.addEventListener("scroll", () => this.paint());
		element.addEventListener("mousemove", (e) => this.pointAt(e));
		element.addEventListener("mouseleave", () => this.setHover(null));
		element.addEventListener("click", (e) => this.click(e));
		new ResizeObserver(() => this.layout()).observe(element);
	}

	setTree(tree) {
		// stay where we are, if that place still exists
		const path = [];
		for (let n = this.zoomed; n && n.parent; n = n.parent)
			path.unshift(n.func);
		this.tree = tree;
		this.cursor = this.hover = null;
		let at = tree && tree.root;
		for (const f of path)
			at = at && kidsOf(at).find((k) => k.func === f);
		this.zoom(at || (tree && tree.root));
		if (this.grows === "up")
			this.element.scrollTop = this.element.scrollHeight;
	}

	zoom(node) {
		this.zoomed = node;
		this.layout();
		this.onZoom(node);
	}

	get atRoot() {
		return !this.tree || this.zoomed === this.tree.root;
	}

	layout() {
		const width = this.element.clientWidth, height = this.element.clientHeight;
		if (this.tree && (!width || !height))
			return;		// not shown; openTab() comes back
		this.width = width;
		this.height = height;
		this.boxes = [];
		if (!this.tree)
			return this.paint();
		const scale = (this.width - 2 * PAD_PX) / (this.zoomed.value || 1);
		const put = (node, x, w) =>
			(this.boxes[node.depth] = this.boxes[node.depth] || []).push({ node, x, w });
		for (let n = this.zoomed.parent; n; n = n.parent)
			put(n, PAD_PX, this.width - 2 * PAD_PX);
		const todo = this.zoomed.value > 0 ? [this.zoomed] : [];
		while (todo.length) {
			const node = todo.pop();
			put(node, PAD_PX + (node.left - this.zoomed.left) * scale, node.value * scale);
			for (const kid of kidsOf(node)) {
				if (kid.value * scale >= LEAST_PX)
					todo.push(kid);
			}
		}
		for (const row of this.boxes)
			row.sort((a, b) => a.x - b.x);
		this.full = Math.max(this.boxes.length * ROW_PX + 8, this.height);
		this.spacer.style.height = this.full - this.height + "px";
		this.paint();
	}

	yOf(depth) {
		const y = this.grows === "up" ? this.full - (depth + 1) * ROW_PX - 4 :
			depth * ROW_PX + 4;
		return y - this.element.scrollTop;
	}

	colour(node, theme) {
		if (isDiff()) {
			const most = Math.abs(this.mostDelta()) || 1, d = deltaOf(node);
			const share = Math.min(1, Math.sqrt(Math.abs(d) / most));
			const step = Math.ceil(share * D.diff_steps) * (d < 0 ? -1 : 1);
			return theme[D.diff_zero + step];
		}
		return theme[node.func < 0 ? D.grey : D.classes[node.func]];
	}

	mostDelta() {
		if (this.tree.most === undefined)
			this.tree.most = this.boxes.reduce((m, row) => row.reduce((n, b) =>
				Math.max(n, Math.abs(deltaOf(b.node))), m), 0);
		return this.tree.most;
	}

	paint() {
		if (!this.width || !this.height)
			return;
		const ratio = window.devicePixelRatio || 1, c = this.canvas;
		if (c.width !== Math.round(this.width * ratio) || c.height !== Math.round(this.height * ratio)) {
			c.width = Math.round(this.width * ratio);
			c.height = Math.round(this.height * ratio);
			c.style.width = this.width + "px";
			c.style.height = this.height + "px";
		}
		const g = c.getContext("2d");
		g.setTransform(ratio, 0, 0, ratio, 0, 0);
		g.clearRect(0, 0, this.width, this.height);
		g.font = "12px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace";
		g.textBaseline = "middle";
		const pen = { g, char: g.measureText("M").width, fg: cssVar("--frame-fg"),
			match: cssVar("--match"), matchFg: cssVar("--match-fg"), line: cssVar("--fg"),
			theme: dark.matches ? D.dark : D.light };
		this.boxes.forEach((row, depth) => {
			const y = this.yOf(depth);
			if (y > -ROW_PX && y < this.height)
				row.forEach((b) => this.paintBox(pen, b, y));
		});
		this.outline(pen, this.hover, 1.2);
		this.outline(pen, this.cursor, 2);
	}

	paintBox(pen, b, y) {
		const { g } = pen, matched = searchHit && b.node.func >= 0 && searchHit[b.node.func];
		const w = b.w > 2 ? b.w - 0.5 : b.w;
		g.globalAlpha = b.node.depth < this.zoomed.depth ? 0.55 : 1;
		g.fillStyle = matched ? pen.match : this.colour(b.node, pen.theme);
		g.beginPath();
		if (w > 6 && g.roundRect)
			g.roundRect(b.x, y, w, ROW_PX - 1, 2);
		else
			g.rect(b.x, y, w, ROW_PX - 1);
		g.fill();
		const chars = Math.floor((w - 5) / pen.char);
		if (chars >= 3) {
			const name = b.node.name;
			g.fillStyle = matched ? pen.matchFg : pen.fg;
			g.fillText(name.length <= chars ? name : name.slice(0, chars - 1) + "\u2026",
				b.x + 3, y + ROW_PX / 2);
		}
		g.globalAlpha = 1;
	}

	outline(pen, node, width) {
		const b = node && (this.boxes[node.depth] || []).find((o) => o.node === node);
		if (!b)
			return;
		pen.g.strokeStyle = pen.line;
		pen.g.lineWidth = width;
		pen.g.strokeRect(b.x, this.yOf(node.depth), Math.max(b.w - 0.5, 1), ROW_PX - 1);
	}

	// ---- pointer

	at(e) {
		const area = this.element.getBoundingClientRect();
		const x = e.clientX - area.left, y = e.clientY - area.top + this.element.scrollTop;
		const depth = this.grows === "up" ? Math.floor((this.full - 4 - y) / ROW_PX) :
			Math.floor((y - 4) / ROW_PX);
		const row = this.boxes[depth] || [];
		const box = row.find((b) => x >= b.x && x < b.x + Math.max(b.w, 1));
		return box ? box.node : null;
	}

	pointAt(e) {
		const node = this.at(e);
		if (node !== this.hover)
			this.setHover(node);
		if (node)
			placeTip(e.clientX, e.clientY);
	}

	setHover(node) {
		this.hover = node;
		this.paint();
		this.canvas.style.cursor = node ? "pointer" : "";
		if (node)
			fillTip(node);
		else
			tip.style.display = "none";
		say(node ? nodeText(node) : "");
	}

	click(e) {
		const node = this.at(e);
		this.element.focus({ preventScroll: true });
		if (!node)
			return;
		if (e.shiftKey && node.func >= 0 && node.func < N_FUNCS)
			this.onPick(node.func);
		else
			this.zoom(node);
	}

	// ---- keyboard

	key(e) {
		const at = this.cursor || this.zoomed;
		if (!at)
			return false;
		const up = this.grows === "up";
		const beside = (step) => {
			const row = (this.boxes[at.depth] || []).map((b) => b.node);
			return row[row.indexOf(at) + step] || at;
		};
		const child = () => kidsOf(at).slice().sort((a, b) => b.value - a.value)[0] || at;
		const moves = {
			ArrowUp: () => up ? child() : at.parent || at,
			ArrowDown: () => up ? at.parent || at : child(),
			ArrowLeft: () => beside(-1), ArrowRight: () => beside(1),
		};
		if (moves[e.key])
			this.setCursor(moves[e.key]());
		else if (e.key === "Enter")
			this.zoom(at);
		else
			return false;
		return true;
	}

	setCursor(node) {
		this.cursor = node;
		const y = this.yOf(node.depth);
		if (y < 0)
			this.element.scrollTop += y - ROW_PX;
		else if (y + ROW_PX > this.height)
			this.element.scrollTop += y + 2 * ROW_PX - this.height;
		this.paint();
		say(nodeText(node));
	}
}

// ---- words about a node

function numbersOf(node) {
	const lines = [];
	if (isDiff()) {
		const of = (t) => sum(node.rows, (r) => D.values[t][r]);
		return [valueText(of(D.diff.before)) + " before, " + valueText(of(D.diff.after)) +
			" after: " + valueText(deltaOf(node), state.type, true)];
	}
	lines.push(valueText(node.value) + " \u00b7 " + percentText(node.value, total));
	if (D.types[state.type].interval && intervalText(node.rows))
		lines.push(intervalText(node.rows));
	D.types.forEach((t, i) => {
		const value = sum(node.rows, (r) => D.values[i][r]);
		// of a ladder's row nothing may mean that nobody knows
		if (i !== state.type && !t.helper && t.unit !== "ns" && (value || !D.ladder))
			lines.push(t.text + ": " + valueText(value, i));
	});
	return lines;
}

function nodeText(node) {
	const module = node.func >= 0 ? modules[moduleOf[node.func]] : "";
	return [node.name, module].filter(Boolean).concat(numbersOf(node)[0],
		D.types[state.type].interval && !isDiff() ? intervalText(node.rows) : []).join(" \u00b7 ");
}

function fillTip(node) {
	const name = document.createElement("b"), rest = document.createElement("span");
	const module = node.func >= 0 ? D.module_paths[moduleOf[node.func]] : "";
	name.textContent = node.name;
	rest.textContent = [module].filter(Boolean).concat(numbersOf(node)).join("\n");
	tip.replaceChildren(name, rest);
	tip.style.display = "block";
}

function placeTip(x, y) {
	const w = tip.offsetWidth, h = tip.offsetHeight;
	tip.style.left = Math.max(4, Math.min(x + 14, window.innerWidth - w - 8)) + "px";
	tip.style.top = (y + 18 + h > window.innerHeight ? Math.max(4, y - h - 12) : y + 18) + "px";
}
