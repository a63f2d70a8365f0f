/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_stacks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/go/go_code.h"
#include "runtime/go/go_frames.h"
#include "runtime/go/go_goroutines.h"
#include "runtime/go/go_guess.h"
#include "runtime/go/go_liveness.h"
#include "runtime/go/go_machine.h"
#include "runtime/go/go_records.h"
#include "runtime/go/go_slots.h"
#include "runtime/go/go_waiting.h"

enum { WORD = 8, NAME_BYTES = 512, STATES = 4, MAX_DEAD = 1 << 22 };

struct stacks {
	struct go_objects *o;
	struct object_graph *texts;
	const struct go_roots_sink *to;
	struct go_frames frames;
	struct go_slots slots;
	struct go_liveness liveness;
	struct go_guess *guess;
	struct dead_word { /* of all stacks: words that are dead by the maps; owned */
		uint64_t value;
		struct go_roots_local local;
	} * dead;
	size_t n_dead, cap_dead;
	bool is_dead;        /* those that are looked at now are */
	uint64_t candidates; /* of the frame whose words are looked at */
	uint32_t nowhere;    /* text */
	struct error *err;
};

static int text(struct stacks *s, const char *a, const char *b, uint32_t *ret)
{
	char buf[NAME_BYTES * 2];

	snprintf(buf, sizeof(buf), "%s%s", a, b);
	return object_graph_text(s->texts, buf, strlen(buf), ret, s->err);
}

/* ---- words ---- */

static const char *name_of(const struct stacks *s, const struct go_frames_frame *f)
{
	return object_graph_name(s->texts, s->frames.codes[f->code].name);
}

/* What a word without a variable is called. */
static int unnamed(struct stacks *s, const struct go_frames_frame *f, uint32_t *ret)
{
	struct go_frames_code *c = f ? &s->frames.codes[f->code] : NULL;
	int r = 0;

	*ret = c ? c->unnamed : s->nowhere;
	if (!c || c->unnamed)
		return 0;
	r = text(s, name_of(s, f), " stack slot", &c->unnamed);
	*ret = c->unnamed;
	return r;
}

static bool points_to_object(const struct stacks *s, uint64_t value)
{
	size_t span = 0;
	uint32_t slot = value ? go_objects_find(s->o, value, &span) : UINT32_MAX;

	return slot != UINT32_MAX && !go_objects_is_free(s->o, span, slot);
}

/* For later: it is of another root. */
static int keep(struct stacks *s, uint64_t value, const struct go_roots_local *local)
{
	int r = s->n_dead < MAX_DEAD ? array_reserve(&s->dead, &s->cap_dead, s->n_dead + 1, s->err)
	                             : 0;

	if (r < 0 || s->n_dead >= MAX_DEAD)
		return r < 0 ? r : s->to->local(s->to->arg, value, local, s->err);
	s->dead[s->n_dead] = (struct dead_word){ value, *local };
	s->dead[s->n_dead].local.candidates = 0; /* of what was there before, perhaps */
	if (local->value) {                      /* what was put together does not last */
		s->dead[s->n_dead].local.type = 0;
		s->dead[s->n_dead].local.value = NULL;
	}
	s->n_dead++;
	return 0;
}

/* Words that point to an object although nothing uses them any more: the collector would free what
 * only they refer to. */
static int dead_words(struct stacks *s)
{
	struct object_root root = { .tier = OBJECT_TIER_RUNTIME };
	int r = text(s, "dead words of stacks", "", &root.name);

	if (r == 0)
		r = text(s, "stack", "", &root.kind);
	if (r == 0 && s->n_dead)
		r = s->to->root(s->to->arg, &root, 0, s->err);
	for (size_t i = 0; r == 0 && i < s->n_dead; i++)
		r = s->to->local(s->to->arg, s->dead[i].value, &s->dead[i].local, s->err);
	return r;
}

/* @w: the variable that has it; NULL: none is known. @label: then it is called so. */
static int word(struct stacks *s, const struct go_slots_word *w, uint32_t label, uint64_t value)
{
	struct go_roots_local local = { .label = label, .candidates = s->candidates };

	if (!points_to_object(s, value))
		return 0;
	if (w) {
		local = (struct go_roots_local){
			.label = w->label,
			.type = w->type,
			.offset = w->offset,
			.what = w->what,
			.at = w->at,
			.value = w->value ? s->slots.values[w->value - 1].bytes : NULL,
			.value_bytes = w->value ? GO_SLOTS_VALUE_BYTES : 0,
		};
	}
	if (s->is_dead)
		return keep(s, value, &local);
	return s->to->local(s->to->arg, value, &local, s->err);
}

static int candidates(struct stacks *s, const struct go_frames_frame *f)
{
	s->candidates = 0;
	/* the runtime's variables are of what it works on, which says nothing of its callers' */
	if (!f || !s->slots.locals || !strncmp(name_of(s, f), "runtime.", 8))
		return 0;
	return go_guess_candidates(s->guess, s->slots.locals, s->slots.claims->types,
	                           s->frames.codes[f->code].entry, &s->candidates, s->err);
}

static int registers(struct stacks *s, const struct go_goroutine *g)
{
	uint32_t label = 0;
	int r = 0;

	if (!g->thread)
		return 0;
	r = candidates(s, s->frames.n_frames ? &s->frames.frames[0] : NULL);
	if (r == 0 && s->frames.n_frames)
		r = text(s, name_of(s, &s->frames.frames[0]), " register", &label);
	for (unsigned i = 0; r == 0 && i < IMAGE_REGISTERS; i++) {
		const struct go_slots_word *w = &s->slots.registers[i];

		/* no map is of them; a system call keeps only its own arguments there */
		s->is_dead = !w->label || g->status == GO_STATUS_SYSCALL;
		r = word(s, w->label ? w : NULL, label, g->thread->regs[i]);
	}
	s->is_dead = false;
	return r;
}

/* Does nothing use the word any more, as far as one can know? */
static bool is_dead(const struct stacks *s, const struct go_frames_frame *f,
                    const struct go_slots_word *w, uint64_t at)
{
	if (w && w->is_used)
		return false;
	/* below the frames is what a system call does */
	if (!f)
		return s->frames.n_frames && at < s->frames.frames[0].sp;
	if (s->frames.codes[f->code].spills)
		return !w;
	return !go_liveness_has(&s->liveness, (size_t)(f - s->frames.frames), at);
}

/* The words of one frame, or of what is before and behind the frames. */
static int words(struct stacks *s, const struct go_frames_frame *f, uint64_t at, uint64_t end,
                 size_t *slot)
{
	const struct go_slots *slots = &s->slots;
	uint32_t label;
	int r = unnamed(s, f, &label);

	if (r == 0)
		r = candidates(s, f);
	for (; r == 0 && end >= WORD && at <= end - WORD; at += WORD) {
		const struct go_slots_word *w = NULL;
		uint64_t value = 0;

		while (*slot < slots->n_words && slots->words[*slot].at < at)
			(*slot)++;
		if (*slot < slots->n_words && slots->words[*slot].at == at)
			w = &slots->words[*slot];
		image_read(s->o->image, at, &value, WORD);
		if (!points_to_object(s, value))
			continue;
		s->is_dead = is_dead(s, f, w, at);
		r = word(s, w, label, value);
	}
	s->is_dead = false;
	return r;
}

/* The closure that one that has not started yet will run, or that a call that grows the stack was
 * of (mgcmark.go, scanstack). */
static int context(struct stacks *s, const struct go_goroutine *g)
{
	const uint64_t at = g->at + s->o->module->layout->g_sched_ctxt;
	struct go_slots_word w = { .at = at, .what = GO_TYPES_FUNC };
	uint64_t value = go_objects_word(s->o, at);
	int r = value ? text(s, "closure of the goroutine", "", &w.label) : 0;

	return r < 0 || !value ? r : word(s, &w, 0, value);
}

static int walk(struct stacks *s, const struct go_goroutine *g)
{
	const struct go_frames_top top = {
		.pc = g->pc,
		.sp = g->frame_sp,
		.link = g->thread && g->is_exact ? go_machine_link(g->thread->regs) : 0,
		.is_exact = g->is_exact,
	};

	return go_frames_walk(&s->frames, &top, g->high, s->err);
}

static int stack(struct stacks *s, const struct go_goroutine *g)
{
	uint64_t at = (g->sp + 7) / WORD * WORD;
	size_t slot = 0;
	int r = walk(s, g);

	if (r == 0)
		r = go_slots_make(&s->slots, &s->frames, g, s->err);
	if (r == 0)
		r = go_liveness_find(&s->liveness, &s->frames, g, &s->slots, s->err);
	if (r == 0)
		r = registers(s, g);
	if (r == 0)
		r = context(s, g);
	for (size_t i = 0; r == 0 && i < s->frames.n_frames; i++) {
		const struct go_frames_frame *f = &s->frames.frames[i];

		if (at < f->sp)
			r = words(s, NULL, at, f->sp, &slot);
		at = at < f->sp ? f->sp : at;
		if (r == 0)
			r = words(s, f, at, f->cfa, &slot);
		at = at < f->cfa ? f->cfa : at;
	}
	return r < 0 ? r : words(s, NULL, at, g->high, &slot);
}

/* ---- groups ---- */

static int by_group(const void *a, const void *b)
{
	const struct go_goroutine *x = a, *y = b;

	if (x->start_pc != y->start_pc)
		return x->start_pc < y->start_pc ? -1 : 1;
	return x->creator < y->creator ? -1 : x->creator > y->creator;
}

static bool is_one_group(const struct go_goroutine *a, const struct go_goroutine *b)
{
	return a->start_pc == b->start_pc && a->creator == b->creator;
}

/* What the program calls the function that they run: of a wrapper, the one that it calls; of the
 * first goroutine, main.main. */
static int function_of(struct stacks *s, const struct go_goroutine *all, size_t n, char *buf,
                       size_t size)
{
	go_code_name_at(s->o->module, all->start_pc, buf, size);
	if (!strcmp(buf, "runtime.main"))
		snprintf(buf, size, "main.main");
	for (size_t i = 0; i < n && i < STATES; i++) {
		int r = walk(s, &all[i]);
		size_t k = s->frames.n_frames;

		if (r < 0)
			return r;
		while (k && s->frames.codes[s->frames.frames[k - 1].code].entry != all->start_pc)
			k--;
		/* behind a wrapper the function that it calls; not started: it is unknown */
		k -= k > 1 && s->frames.codes[s->frames.frames[k - 1].code].is_wrapper;
		if (!k || !strcmp(buf, "main.main"))
			continue;
		snprintf(buf, size, "%s", name_of(s, &s->frames.frames[k - 1]));
		return 0;
	}
	return 0;
}

/* "chan receive 1200, running 4"; of one kind only: "chan receive". */
static void states(struct stacks *s, const struct go_goroutine *all, size_t n, char *buf,
                   size_t size)
{
	struct {
		const char *text;
		size_t n;
	} seen[64] = { 0 };
	size_t used = 0, len = 0;

	for (size_t i = 0; i < n; i++) {
		const char *t = go_waiting_text(s->o->module->layout->minor, all[i].status,
		                                all[i].reason);
		size_t k = 0;

		while (k < used && strcmp(seen[k].text, t))
			k++;
		if (k == used && used == ARRAY_SIZE(seen))
			continue;
		if (k == used)
			seen[used++].text = t;
		seen[k].n++;
	}
	if (used == 1) {
		snprintf(buf, size, "%s", seen[0].text);
		return;
	}
	for (unsigned told = 0; told < STATES; told++) {
		size_t best = 0;

		for (size_t k = 1; k < used; k++)
			best = seen[k].n > seen[best].n ? k : best;
		if (!used || !seen[best].n || len >= size)
			return;
		len += (size_t)snprintf(buf + len, size - len, "%s%s %zu", told ? ", " : "",
		                        seen[best].text, seen[best].n);
		seen[best].n = 0;
	}
}

static int begin(struct stacks *s, const struct go_goroutine *all, size_t n)
{
	struct object_root root = { .tier = OBJECT_TIER_STACK, .members = (uint32_t)n };
	char function[NAME_BYTES] = "", by[NAME_BYTES] = "", name[2 * NAME_BYTES + 64],
	     state[NAME_BYTES] = "";
	int r = function_of(s, all, n, function, sizeof(function));

	/* the runtime's own wait with what they left on their stacks long ago; a coroutine is the
	 * program's (traceback.go, isSystemGoroutine; 1.23+) */
	if (!strncmp(function, "runtime.", 8) && strcmp(function, "runtime.corostart"))
		root.tier = OBJECT_TIER_RUNTIME;
	if (strcmp(function, "main.main"))
		go_code_name_at(s->o->module, all->creator, by, sizeof(by));
	snprintf(name, sizeof(name), "goroutines of %s%s%s%s", function[0] ? function : "?",
	         by[0] ? " (created by " : "", by, by[0] ? ")" : "");
	states(s, all, n, state, sizeof(state));
	if (r == 0)
		r = text(s, name, "", &root.name);
	if (r == 0)
		r = text(s, "stack", "", &root.kind);
	if (r == 0)
		r = text(s, by, "", &root.created_by);
	if (r == 0)
		r = text(s, state, "", &root.state);
	return r < 0 ? r : s->to->root(s->to->arg, &root, 0, s->err);
}

static int groups(struct stacks *s, struct go_goroutine *all, size_t n)
{
	int r = 0;

	qsort(all, n, sizeof(*all), by_group);
	for (size_t i = 0, end; r == 0 && i < n; i = end) {
		for (end = i + 1; end < n && is_one_group(&all[i], &all[end]); end++)
			;
		r = begin(s, &all[i], end - i);
		for (size_t k = i; r == 0 && k < end; k++)
			r = stack(s, &all[k]);
	}
	return r;
}

int go_stacks_each(struct go_objects *o, struct go_claims *claims, struct go_guess *guess,
                   const struct go_goroutine *all, size_t n, const struct go_roots_sink *to,
                   struct error *err)
{
	struct stacks s = { .o = o,
		            .texts = claims->texts,
		            .to = to,
		            .frames = { .module = o->module, .texts = claims->texts },
		            .slots = { .claims = claims },
		            .guess = guess,
		            .err = err };
	struct go_emit emit = { .o = o, .texts = claims->texts, .to = to, .err = err };
	cleanup_free struct go_goroutine *some = calloc(n + 1, sizeof(*some));
	size_t with_stack = 0;
	int r = some ? text(&s, "stack slot", "", &s.nowhere) : error_oom(err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (all[i].high)
			some[with_stack++] = all[i];
	}
	if (r == 0 && claims->types && go_types_dwarf_of(claims->types))
		r = go_locals_open(claims->types, o->module, claims->texts, &s.slots.locals, err);
	if (r == 0 && s.slots.locals)
		r = go_dictionaries_open(o->module, claims->types, claims->texts,
		                         &s.slots.dictionaries, err);
	if (r == 0 && with_stack)
		r = groups(&s, some, with_stack);
	if (r == 0)
		r = dead_words(&s);
	if (r == 0)
		r = go_records_each(&emit, some, with_stack);
	free(s.dead);
	go_liveness_clear(&s.liveness);
	go_frames_clear(&s.frames);
	go_locals_close(s.slots.locals);
	go_dictionaries_close(s.slots.dictionaries);
	go_slots_clear(&s.slots);
	return r;
}
