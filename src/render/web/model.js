// SPDX-License-Identifier: GPL-2.0-or-later
// The data of the page and what is computed from it. Stacks come as a trie
// (each node: how far back its parent is, and its function) and are unpacked
// into one flat array, root first.
//
// Control characters, and those that turn the direction of text round, would
// make a name read as another one.
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]/g;
const D = JSON.parse(document.getElementById("data").textContent);

function clean(value) {
	if (typeof value === "string")
		return value.replace(/[\n\r\t]/g, " ").replace(UNSAFE, "\ufffd");
	return Array.isArray(value) ? value.map(clean) : value !== null && typeof value === "object" ?
		Object.fromEntries(Object.entries(value).map(([k, v]) => [k, clean(v)])) : value;
}

// not all of it: a function called for each of a million numbers takes seconds
for (const key of ["title", "amount", "trust", "types", "names", "modules", "module_paths",
	"label_sets", "figures", "tables"])
	D[key] = clean(D[key]);

const N_ROWS = D.leaf.length;
const N_FUNCS = D.names.length;

const stacks = (() => {
	const n = D.up.length, depth = new Int32Array(n);
	for (let i = 1; i < n; i++)
		depth[i] = depth[i - D.up[i]] + 1;
	const start = new Int32Array(N_ROWS + 1);
	for (let r = 0; r < N_ROWS; r++)
		start[r + 1] = start[r] + depth[D.leaf[r]];
	const flat = new Int32Array(start[N_ROWS]);
	for (let r = 0; r < N_ROWS; r++) {
		let at = D.leaf[r];
		for (let k = start[r + 1] - 1; k >= start[r]; k--) {
			flat[k] = D.func[at];
			at -= D.up[at];
		}
	}
	return { start, flat };
})();

const names = D.names;		// grows by the group's names
const modules = D.modules;
const moduleOf = D.module_of;
const state = {
	type: D.type, reverse: D.reverse, inverted: D.inverted, order: "heavy", group: "",
	focus: null, ignore: null, search: null, tab: D.ladder ? "treemap" : "flame", func: -1,
};

function isDiff() {
	return D.diff !== null && state.type === D.diff.delta;
}

// ---- numbers as words

function bytesText(v) {
	const sign = v < 0 ? "-" : "", units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
	let i = 0;
	for (v = Math.abs(v); v >= (i ? 1023.95 : 1024) && i < units.length - 1; i++)
		v /= 1024;
	return sign + (i ? v.toFixed(1) : v) + " " + units[i];
}

function countText(v) {
	return String(v).replace(/\B(?=(\d{3})+$)/g, ",");
}

function valueText(v, type, signed) {
	const t = D.types[type === undefined ? state.type : type];
	const text = t.unit === "bytes" ? bytesText(v) : t.unit === "ns" ? secondsText(v / 1e9) :
		countText(v);
	return (signed && v > 0 ? "+" : "") + text;
}

function secondsText(s) {
	return s < 0.0995 ? (s * 1e3).toFixed(1) + " ms" : s < 99.95 ? s.toFixed(1) + " s" :
		s < 3600 ? Math.floor(s / 60) + " min" : (s / 3600).toFixed(1) + " h";
}

function percentText(part, whole) {
	let v = whole ? 100 * part / whole : 0;
	if (v > 99.9 && part < whole)
		v = 99.9;	// "100.0 %" means all of it
	return (v && v < 0.05 ? v.toFixed(2) : v.toFixed(1)) + " %";
}

// ---- rows

// What a row weighs in a picture: never negative.
function weigher() {
	if (isDiff()) {
		const after = D.values[D.diff.after], before = D.values[D.diff.before];
		return (r) => Math.max(after[r], before[r], 0);
	}
	const values = D.values[state.type];
	return (r) => Math.max(values[r], 0);
}

function matching(re, modulesToo) {
	const hit = new Uint8Array(N_FUNCS);
	for (let f = 0; f < N_FUNCS; f++)
		hit[f] = re.test(names[f]) || (modulesToo && re.test(modules[moduleOf[f]])) ? 1 : 0;
	return hit;
}

function hasAny(r, hit) {
	for (let k = stacks.start[r]; k < stacks.start[r + 1]; k++) {
		if (hit[stacks.flat[k]])
			return true;
	}
	return false;
}

let active = [], weight = weigher(), total = 0;

function sum(rows, of) {
	let s = 0;
	for (const r of rows)
		s += of(r);
	return s;
}

function applyFilters() {
	const focus = state.focus && matching(state.focus);
	const ignore = state.ignore && matching(state.ignore);
	weight = weigher();
	active = [];
	for (let r = 0; r < N_ROWS; r++) {
		if (weight(r) > 0 && (!focus || hasAny(r, focus)) && (!ignore || !hasAny(r, ignore)))
			active.push(r);
	}
	total = sum(active, weight);
}

// ---- how sure an estimate is: profile/interval.h, of the sums over @rows

function gammaQuantile(shape, z) {
	const root = 1 - 1 / (9 * shape) + z / (3 * Math.sqrt(shape));
	return root > 0 ? shape * root ** 3 : 0;
}

function intervalOf(rows) {
	const at = D.types[state.type].interval, of = (t) => sum(rows, (r) => D.values[t][r]);
	const estimate = of(state.type), samples = of(at.samples), seen = of(at.seen);
	const variance = of(at.variance) * at.unit, unseen = estimate - seen;
	if (!(variance > 0 && unseen > 0 && samples >= 1))
		return { low: estimate, high: estimate, samples };
	const scale = variance / unseen, k = unseen / scale, shape = k * (1 + 0.5 / samples);
	const half = k < samples ? scale * (1 - k / samples) / 2 : 0;
	const most = scale * gammaQuantile(shape, 1.959964);
	const low = seen + Math.max(0, scale * gammaQuantile(shape, -1.959964) - half);
	return { low: Math.min(low, estimate), samples,
		high: Math.max(seen + most + Math.min(half, most), estimate) };
}

function intervalText(rows) {
	const i = intervalOf(rows);
	return i.samples < 1 ? "" : "95 %: " + valueText(Math.round(i.low)) + "\u2013" +
		valueText(Math.round(i.high)) + ", " +
		(i.samples < 2 ? "seen by one sample" : countText(i.samples) + " samples");
}

// ---- labels and groups

function labelOf(r, key) {
	const set = D.labels[r] < 0 ? [] : D.label_sets[D.labels[r]];
	const pair = set.find((l) => l[0] === key);
	return pair ? pair[1] : null;
}

const groupIds = new Map();

function groupFunc(r) {
	const text = labelOf(r, state.group);
	const name = state.group + ": " + (text === null ? "(none)" : text);
	let id = groupIds.get(name);
	if (id === undefined) {
		id = names.length;
		names.push(name);
		moduleOf.push(0);
		D.classes.push(D.grey);
		groupIds.set(name, id);
	}
	return id;
}

// ---- trees, grown where somebody looks

// step +1: towards the leaf, -1: towards the root; anchor(r): index of depth 1
function makeTree(rows, step, anchor, rootName, rootFunc) {
	const tree = { step, anchor, group: state.group && anchor === null };
	tree.root = { tree, func: rootFunc === undefined ? -1 : rootFunc, name: rootName, rows,
		value: sum(rows, weight), depth: 0, left: 0, parent: null, kids: null };
	return tree;
}

function frameAt(tree, r, depth) {
	const { start, flat } = stacks;
	let at;
	if (tree.group && depth === 1)
		return groupFunc(r);
	if (tree.anchor)
		at = tree.anchor(r) + tree.step * depth;
	else if (tree.step > 0)
		at = start[r] + depth - 1 - (tree.group ? 1 : 0);
	else
		at = start[r + 1] - depth + (tree.group ? 1 : 0);
	return at >= start[r] && at < start[r + 1] ? flat[at] : -1;
}

function kidsOf(node) {
	if (node.kids)
		return node.kids;
	const found = new Map();
	for (const r of node.rows) {
		const f = frameAt(node.tree, r, node.depth + 1);
		if (f < 0)
			continue;
		const kid = found.get(f);
		if (kid) {
			kid.rows.push(r);
			kid.value += weight(r);
		} else {
			found.set(f, { tree: node.tree, func: f, name: names[f], rows: [r],
				value: weight(r), depth: node.depth + 1, left: 0, parent: node,
				kids: null });
		}
	}
	const byName = (a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : a.func - b.func;
	node.kids = [...found.values()].sort(state.order === "name" ? byName :
		(a, b) => b.value - a.value || byName(a, b));
	let left = node.left;
	for (const kid of node.kids) {
		kid.left = left;
		left += kid.value;
	}
	return node.kids;
}

function deltaOf(node) {
	if (node.delta === undefined)
		node.delta = sum(node.rows, (r) => D.values[D.diff.delta][r]);
	return node.delta;
}

// ---- functions

function functionRows() {
	const self = new Float64Array(N_FUNCS), all = new Float64Array(N_FUNCS);
	const seen = new Int32Array(N_FUNCS).fill(-1);
	const value = D.values[state.type];
	for (const r of active) {
		const from = stacks.start[r], to = stacks.start[r + 1];
		if (to > from)
			self[stacks.flat[to - 1]] += value[r];
		for (let k = from; k < to; k++) {
			const f = stacks.flat[k];
			if (seen[f] === r)
				continue;
			seen[f] = r;
			all[f] += value[r];
		}
	}
	const rows = [];
	for (let f = 0; f < N_FUNCS; f++) {
		if (seen[f] >= 0)
			rows.push({ func: f, name: names[f], module: modules[moduleOf[f]],
				self: self[f], total: all[f] });
	}
	return rows;
}

// Index of the outermost call of @func in a row, or -1.
function outermost(r, func) {
	const at = stacks.flat.indexOf(func, stacks.start[r]);
	return at >= 0 && at < stacks.start[r + 1] ? at : -1;
}

function rowsWith(func) {
	const hit = new Uint8Array(N_FUNCS);
	hit[func] = 1;
	return active.filter((r) => hasAny(r, hit));
}

function stackText(r) {
	const parts = [];
	for (let k = stacks.start[r + 1] - 1; k >= stacks.start[r] && parts.length < 40; k--)
		parts.push(names[stacks.flat[k]].slice(0, 200));
	return parts.join(" \u2190 ");
}
