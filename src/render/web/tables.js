// SPDX-License-Identifier: GPL-2.0-or-later
// Sortable tables of any length: only the rows in sight are elements.
const LINE_PX = 24;

class TableView {
	// columns: { key, title, width, text(row), value(row), css, bar(row) }
	constructor(element, columns, onClick) {
		this.columns = columns;
		this.rows = [];
		this.sort = columns.find((c) => c.first) || columns[0];
		this.descending = true;
		this.picked = null;
		this.onClick = onClick;
		this.head = document.createElement("div");
		this.body = document.createElement("div");
		this.spacer = document.createElement("div");
		this.head.className = "head";
		this.body.className = "body";
		this.body.tabIndex = 0;
		this.body.append(this.spacer);
		element.replaceChildren(this.head, this.body);
		this.body.addEventListener("scroll", () => this.paint());
		new ResizeObserver(() => this.paint()).observe(this.body);
		this.makeHead();
	}

	template() {
		return this.columns.map((c) => c.width).join(" ");
	}

	makeHead() {
		this.head.style.gridTemplateColumns = this.template();
		this.head.replaceChildren(...this.columns.map((c) => {
			const b = document.createElement("button");
			b.className = c.css || "";
			b.dataset.key = c.key;
			b.textContent = c.title + (c !== this.sort ? "" : this.descending ? " \u25be" : " \u25b4");
			if (c === this.sort)
				b.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
			b.addEventListener("click", () => this.sortBy(c));
			return b;
		}));
	}

	sortBy(column) {
		this.descending = column === this.sort ? !this.descending : !column.ascending;
		this.sort = column;
		this.makeHead();
		this.order();
		this.body.scrollTop = 0;
		this.paint();
	}

	setRows(rows) {
		this.rows = rows;
		this.order();
		this.spacer.style.height = rows.length * LINE_PX + "px";
		this.paint();
	}

	order() {
		const keyed = this.rows.map((row, i) => ({ row, i, k: this.sort.value(row) }));
		const sign = this.descending ? -1 : 1;
		keyed.sort((a, b) => (a.k < b.k ? -sign : a.k > b.k ? sign : a.i - b.i));
		this.rows = keyed.map((k) => k.row);
	}

	paint() {
		const height = this.body.clientHeight;
		if (!height)
			return;
		const from = Math.max(0, Math.floor(this.body.scrollTop / LINE_PX) - 4);
		const to = Math.min(this.rows.length, from + Math.ceil(height / LINE_PX) + 8);
		const lines = [this.spacer];
		for (let i = from; i < to; i++)
			lines.push(this.line(this.rows[i], i));
		this.body.replaceChildren(...lines);
	}

	line(row, i) {
		const line = document.createElement("div");
		line.className = "row" + (row === this.picked ? " picked" : "");
		line.dataset.i = i;
		line.style.top = i * LINE_PX + "px";
		line.style.gridTemplateColumns = this.template();
		for (const c of this.columns) {
			const cell = document.createElement("div");
			cell.className = c.css || "";
			cell.textContent = c.text(row);
			if (c.bar)
				cell.style.setProperty("--w", Math.max(0, Math.min(100, c.bar(row))) + "%");
			if (c.sign)
				cell.classList.add(c.value(row) > 0 ? "more" : c.value(row) < 0 ? "less" : "soft");
			line.append(cell);
		}
		line.addEventListener("click", () => {
			this.picked = row;
			this.paint();
			this.onClick(row);
		});
		return line;
	}
}

function share(v) {
	return total ? 100 * v / total : 0;
}

function functionColumns(short) {
	const value = (key, title, first) => ({ key, title, first, width: "92px", css: "num bar",
		value: (r) => r[key], text: (r) => valueText(r[key], state.type, isDiff()),
		bar: (r) => share(Math.abs(r[key])), sign: isDiff() });
	const percent = (key, title, of) => ({ key, title, width: "66px", css: "num soft",
		value: (r) => r[of], text: (r) => percentText(r[of], total) });
	const name = { key: "name", title: D.ladder ? "Owner" : "Function", width: "minmax(120px,3fr)", css: "code",
		ascending: true, value: (r) => r.name, text: (r) => r.name.slice(0, 1000) };
	const module = { key: "module", title: D.ladder ? "Kind" : "Module", width: "minmax(80px,1fr)", css: "soft",
		ascending: true, value: (r) => r.module, text: (r) => r.module };
	if (short)
		return [value("total", "Total", true), value("self", "Self"), name];
	if (isDiff())
		return [value("self", "Self"), value("total", "Total", true), name, module];
	return [value("self", "Self"), percent("self%", "Self %", "self"),
		value("total", "Total", true), percent("total%", "Total %", "total"), name, module];
}

function plainColumn(key, title, type, signed) {
	return { key, title, width: "92px", css: "num", value: (r) => D.values[type][r.row],
		text: (r) => valueText(D.values[type][r.row], type, signed),
		sign: signed };
}

function averageAge(r) {
	const t = D.types[state.type], n = D.values[t.count][r.row];
	return n > 0 ? D.values[t.age][r.row] / n / 1e9 : 0;
}

function stackColumns() {
	const t = D.types[state.type], columns = [];
	if (isDiff()) {
		columns.push(plainColumn("before", "Before", D.diff.before),
			plainColumn("after", "After", D.diff.after));
	}
	columns.push({ key: "value", title: t.text, first: true, width: "110px", css: "num bar",
		value: (r) => isDiff() ? Math.abs(r.value) : r.value,
		text: (r) => valueText(r.value, state.type, isDiff()),
		bar: (r) => share(Math.abs(r.value)) });
	if (!isDiff())
		columns.push({ key: "share", title: "Share", width: "66px", css: "num soft",
			value: (r) => r.value, text: (r) => percentText(r.value, total) });
	if (t.count >= 0)
		columns.push(plainColumn("count", "Count", t.count));
	if (t.interval && !isDiff())
		columns.push({ key: "interval", title: "95 % interval", width: "150px", css: "num soft",
			value: (r) => intervalOf([r.row]).high, text: (r) => intervalText([r.row]) });
	if (t.age >= 0 && t.count >= 0)
		columns.push({ key: "age", title: "Avg age", width: "80px", css: "num", value: averageAge,
			text: (r) => secondsText(averageAge(r)) });
	if (D.growth >= 0 && D.growth !== state.type)
		columns.push(plainColumn("growth", "Growth", D.growth, true));
	if (D.label_sets.length)
		columns.push({ key: "labels", title: "Labels", width: "minmax(80px,1fr)", css: "soft",
			ascending: true, value: labelText, text: labelText });
	columns.push({ key: "stack", title: D.ladder ? "Row (name \u2190 kind of owner)" :
		D.stack, width: "minmax(200px,4fr)", css: "code", ascending: true,
		value: (r) => stackText(r.row), text: (r) => stackText(r.row) });
	return columns;
}

function labelText(r) {
	const set = D.labels[r.row] < 0 ? [] : D.label_sets[D.labels[r.row]];
	return set.map((l) => l[0] + "=" + l[1]).join("  ");
}
