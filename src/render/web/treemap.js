// SPDX-License-Identifier: GPL-2.0-or-later
// A ladder as a treemap: an area for each kind of owner, in it one for each
// owner, as large as its bytes. What would be smaller than a pixel or two is
// drawn together, as the rest of its kind: 60,000 rows are no 60,000 elements.
const HEAD_PX = 19, GAP_PX = 2, CELL_PX = 5, MOST_CELLS = 1500;

// Squarified (Bruls, Huizing, van Wijk): rows along the shorter side, as long
// as that makes their cells squarer. @items: largest first, { value }.
function squarify(items, x, y, w, h) {
	const out = [];
	let left = items.reduce((s, i) => s + i.value, 0), at = 0;
	while (at < items.length && left > 0 && w > 0 && h > 0) {
		const side = Math.min(w, h), scale = w * h / left;
		let sum = 0, end = at, worst = Infinity;
		while (end < items.length) {
			const next = sum + items[end].value, a = next * scale;
			const ratio = (v) => Math.max(side * side * v * scale / (a * a),
				a * a / (side * side * v * scale));
			const now = Math.max(ratio(items[at].value), ratio(items[end].value));
			if (now > worst)
				break;
			worst = now;
			sum = next;
			end++;
		}
		const thick = Math.min(sum * scale / side, w < h ? h : w);
		let along = 0;
		for (; at < end; at++) {
			const long = items[at].value / sum * side;
			out.push(w < h ? { item: items[at], x: x + along, y, w: long, h: thick } :
				{ item: items[at], x, y: y + along, w: thick, h: long });
			along += long;
		}
		left -= sum;
		if (w < h) {
			y += thick;
			h -= thick;
		} else {
			x += thick;
			w -= thick;
		}
	}
	return out;
}

// What the report's rows say beside the bytes: "kind\0name" -> [row as object].
const partsOf = (() => {
	const table = D.tables.find((t) => t.key === "parts" || t.key === "differences");
	const map = new Map();
	for (const row of table ? table.rows : []) {
		const o = Object.fromEntries(table.columns.map((c, i) => [c, row[i]]));
		const key = o.kind + "\0" + (o.name || "(no name)");
		map.set(key, (map.get(key) || []).concat([o]));
	}
	return map;
})();

class Treemap {
	constructor(element) {
		this.element = element;
		this.cells = [];
		this.tree = this.zoomed = this.cursor = null;
		this.onZoom = () => {};
		new ResizeObserver(() => this.layout()).observe(element);
		element.addEventListener("click", (e) => this.click(e));
		element.addEventListener("mousemove", (e) => this.pointAt(e));
		element.addEventListener("mouseleave", () => this.leave());
	}

	setTree(tree) {
		const func = this.zoomed && this.zoomed.parent ? this.zoomed.func : -1;
		this.tree = tree;
		this.cursor = null;
		this.zoom(kidsOf(tree.root).find((k) => k.func === func) || tree.root);
	}

	zoom(node) {
		this.zoomed = node;
		this.cursor = null;
		this.layout();
		this.onZoom(node);
	}

	get atRoot() {
		return !this.tree || this.zoomed === this.tree.root;
	}

	// ---- layout

	// Kids as items, largest first; those that would be too small are one.
	items(node, area) {
		const kids = kidsOf(node).filter((k) => k.value > 0).sort((a, b) => b.value - a.value);
		const least = node.value * CELL_PX * CELL_PX / Math.max(area, 1);
		let n = kids.findIndex((k, i) => k.value < least || i >= MOST_CELLS);
		if (n < 0)
			n = kids.length;
		const items = kids.slice(0, n).map((k) => ({ node: k, value: k.value }));
		if (n < kids.length) {
			const value = kids.slice(n).reduce((s, k) => s + k.value, 0);
			items.push({ node: null, rest: kids.slice(n), value, parent: node });
		}
		return items;
	}

	layout() {
		const w = this.element.clientWidth, h = this.element.clientHeight;
		if (!this.tree || !w || !h)
			return;
		this.cells = [];
		if (this.atRoot) {
			for (const box of squarify(this.items(this.zoomed, w * h), 4, 4, w - 8, h - 8))
				this.putKind(box);
		} else {
			this.putKind({ item: { node: this.zoomed, value: this.zoomed.value }, x: 4, y: 4,
				w: w - 8, h: h - 8 });
		}
		this.paint();
	}

	putKind(box) {
		const node = box.item.node, room = box.h - HEAD_PX - 3;
		if (!node || !kidsOf(node).length || box.w < 24 || room < 12) {
			this.cells.push({ ...box, leaf: true });
			return;
		}
		this.cells.push({ ...box, leaf: false });
		for (const b of squarify(this.items(node, box.w * room), box.x + 3, box.y + HEAD_PX,
			box.w - 6, room))
			this.cells.push({ ...b, leaf: true });
	}

	// ---- drawing

	colour(item) {
		const theme = dark.matches ? D.dark : D.light;
		if (isDiff()) {
			const delta = (n) => n ? deltaOf(n) : 0;
			const most = Math.max(1, ...this.cells.filter((c) => c.leaf)
				.map((c) => Math.abs(delta(c.item.node))));
			const d = delta(item.node);
			const step = Math.ceil(Math.sqrt(Math.abs(d) / most) * D.diff_steps);
			return theme[D.diff_zero + (d < 0 ? -step : step)];
		}
		const node = item.node || item.rest[0];
		return theme[node.func < 0 ? D.grey : D.classes[node.func]];
	}

	paint() {
		this.element.replaceChildren(...this.cells.map((c, i) => this.draw(c, i)));
		if (this.cursor !== null && this.cells[this.cursor])
			this.element.children[this.cursor].classList.add("cursor");
	}

	draw(cell, i) {
		const e = document.createElement("div"), node = cell.item.node;
		const matched = searchHit && (node ? [node] : cell.item.rest)
			.some((n) => n.func >= 0 && searchHit[n.func]);
		e.className = "cell " + (cell.leaf ? "leaf" : "kind") + (matched ? " match" : "");
		e.dataset.i = i;
		e.setAttribute("role", "treeitem");
		e.setAttribute("aria-label", this.text(cell));
		e.style.left = cell.x + "px";
		e.style.top = cell.y + "px";
		e.style.width = Math.max(cell.w - GAP_PX, 1) + "px";
		e.style.height = Math.max(cell.h - GAP_PX, 1) + "px";
		if (cell.leaf)
			e.style.background = this.colour(cell.item);
		if (!node)
			e.classList.add("rest");
		if (cell.w > 24 && cell.h > 17)
			e.append(this.nameOf(cell.item));
		if (cell.w > 24 && cell.h > (cell.leaf ? 34 : 17))
			e.append(this.numberOf(cell));
		else if (cell.w <= 24 || cell.h <= 17)
			e.style.padding = "0";
		return e;
	}

	numberOf(cell) {
		const s = document.createElement("span");
		s.className = "soft";
		s.textContent = cell.item.node && isDiff() ? valueText(deltaOf(cell.item.node), state.type,
			true) : valueText(cell.item.value);
		return s;
	}

	// ---- words

	nameOf(item) {
		return item.node ? item.node.name : "+" + countText(item.rest.length);
	}

	text(cell) {
		return cell.item.node ? nodeText(cell.item.node) : this.nameOf(cell.item) +
			" smaller ones \u00b7 " + valueText(cell.item.value);
	}

	// What its rows say: how the owner was proven, what is in use.
	details(node) {
		if (!node.parent || !node.parent.parent)
			return [];
		const rows = partsOf.get(node.parent.name + "\0" + node.name) || [];
		const lines = rows.length > 1 ? [countText(rows.length) + " rows"] : [];
		for (const key of ["detail", "evidence", "unknown_why", "path"]) {
			const texts = [...new Set(rows.map((r) => r[key]).filter(Boolean))];
			if (texts.length)
				lines.push((key === "evidence" ? "proof: " : "") + texts[0]);
		}
		return lines;
	}

	fill(cell) {
		const name = document.createElement("b"), rest = document.createElement("span");
		const node = cell.item.node;
		name.textContent = this.nameOf(cell.item);
		rest.textContent = node ? [node.parent && node.parent.parent ? node.parent.name : ""]
			.concat(numbersOf(node), this.details(node)).filter(Boolean).join("\n") :
			cell.item.rest.slice(0, 8).map((k) => k.name.slice(0, 80)).join("\n");
		tip.replaceChildren(name, rest);
		tip.style.display = "block";
	}

	// ---- pointer

	cellOf(e) {
		const c = e.target.closest(".cell");
		return c ? this.cells[+c.dataset.i] : null;
	}

	pointAt(e) {
		const cell = this.cellOf(e);
		if (!cell)
			return this.leave();
		this.fill(cell);
		placeTip(e.clientX, e.clientY);
		say(this.text(cell));
	}

	leave() {
		tip.style.display = "none";
		say("");
	}

	// A kind is zoomed into; a click inside of it is one on it.
	kindOf(cell) {
		const node = cell.item.node || cell.item.parent;
		return node.depth === 2 ? node.parent : node.depth === 1 ? node : this.tree.root;
	}

	click(e) {
		const cell = this.cellOf(e);
		this.element.focus({ preventScroll: true });
		if (cell)
			this.zoom(this.atRoot ? this.kindOf(cell) : this.tree.root);
	}

	// ---- keyboard

	// The nearest cell whose middle lies in that direction.
	beside(from, dx, dy) {
		const mid = (c) => [c.x + c.w / 2, c.y + c.h / 2], [x, y] = mid(from);
		let best = null, least = Infinity;
		this.cells.forEach((c, i) => {
			const [cx, cy] = mid(c), ahead = (cx - x) * dx + (cy - y) * dy;
			const aside = Math.abs((cx - x) * dy) + Math.abs((cy - y) * dx);
			if (!c.leaf || c === from || ahead <= 0.5 || ahead + 2 * aside >= least)
				return;
			least = ahead + 2 * aside;
			best = i;
		});
		return best;
	}

	key(e) {
		const steps = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
		if (e.key === "Backspace") {
			this.zoom(this.tree.root);
		} else if (e.key === "Enter") {
			if (this.cursor === null && this.atRoot)
				return false;
			this.zoom(this.atRoot ? this.kindOf(this.cells[this.cursor]) : this.tree.root);
		} else if (steps[e.key]) {
			const first = this.cells.findIndex((c) => c.leaf);
			const next = this.cursor === null ? first :
				this.beside(this.cells[this.cursor], ...steps[e.key]);
			if (next === null || next < 0)
				return true;
			this.cursor = next;
			this.paint();
			say(this.text(this.cells[next]));
		} else {
			return false;
		}
		return true;
	}
}
