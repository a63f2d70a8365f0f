// SPDX-License-Identifier: GPL-2.0-or-later
// The page without this is whole, but stands still.
"use strict";

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

function bytes(n) {
	let i = 0;
	for (; n >= 1024 && i < units.length - 1; i++)
		n /= 1024;
	return (i ? n.toFixed(1) : n) + " " + units[i];
}

// The charts and states are drawn by the service: its own table is put in place of ours.
async function refresh() {
	const answer = await fetch("/", { cache: "no-store" });
	if (!answer.ok)
		return;
	const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
	for (const id of ["targets", "kept"]) {
		const ours = document.getElementById(id), theirs = fresh.getElementById(id);
		const chosen = [...document.querySelectorAll("#" + id + " input:checked")].map(x => [x.name, x.value]);
		if (!ours || !theirs)
			continue;
		ours.replaceWith(document.adoptNode(theirs));
		for (const [name, value] of chosen) {
			const input = document.querySelector(`input[name="${name}"][value="${CSS.escape(value)}"]`);
			if (input)
				input.checked = true;
		}
	}
}

function say(text) {
	document.getElementById("said").textContent = text;
}

// A capture takes seconds: its button says so, and a refusal is told here instead of on a
// page of its own.
async function capture(link) {
	const name = link.textContent;
	link.classList.add("busy");
	say(`${name}: captures ...`);
	try {
		const answer = await fetch(link.href, { cache: "no-store" });
		if (answer.ok) {
			const page = await answer.blob();
			say(`${name}: ${bytes(page.size)}`);
			location.href = URL.createObjectURL(page);
			link.classList.remove("busy");
			return;
		}
		const why = await answer.json();
		const running = why.running;
		say(why.error + (running && running.ends_in_seconds !== null ?
			`; it ends in ${Math.ceil(running.ends_in_seconds)} s` : ""));
	} catch (e) {
		say(`${name}: ${e.message}`);
	}
	link.classList.remove("busy");
}

document.addEventListener("click", event => {
	const link = event.target.closest("#targets a.button[href*=flamegraph]");
	if (!link || event.ctrlKey || event.metaKey || event.shiftKey)
		return;
	event.preventDefault();
	capture(link);
});

document.addEventListener("submit", event => {
	if (event.target.id !== "diff")
		return;
	const form = new FormData(event.target);
	if (form.get("before") && form.get("after"))
		return;
	event.preventDefault();
	say("choose the two captures that are to be compared");
});

if (document.getElementById("targets"))
	setInterval(() => { if (!document.hidden) refresh().catch(() => {}); }, 5000);
