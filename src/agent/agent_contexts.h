/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Which sampled blocks belong to which context (pool), so that a reset takes out
 * just these. Part of agent.c, whose laws hold here.
 *
 * Resets come by the million, most of them of contexts without a sample: the stub
 * sees that in context_filter and passes. A context with samples has an entry, and a
 * chain of links, one for each block that was put in. A block that is freed alone
 * leaves its link behind, for a chain is only ever added to or taken whole; links
 * of such blocks are dropped when they are more than half of it, and with the last
 * block the entry goes.
 *
 * Who allocates in a context while another thread resets it is wrong anyway; here it
 * costs a count, or a block that seems to live on, and nothing else.
 */

static int take_out_entry(u64 ptr, u64 seq, struct agent_entry *ret);

static int is_context(u64 context)
{
	return context > AGENT_BUSY;
}

static struct agent_context *find_context(u64 context)
{
	const u32 b = hash(context, AGENT_CONTEXT_BITS);

	if (!D.context_filter[b])
		return 0;
	for (u32 i = 0; i < AGENT_CONTEXT_ENTRIES; i++) {
		if (D.contexts[b][i].context == context)
			return &D.contexts[b][i];
	}
	return 0;
}

/* Found, or made; 0: no room. */
static struct agent_context *make_context(u64 context)
{
	const u32 b = hash(context, AGENT_CONTEXT_BITS);
	struct agent_context *c = find_context(context);

	if (c || !take_room(&D.context_filter[b]))
		return c;
	for (u32 i = 0; i < AGENT_CONTEXT_ENTRIES; i++) {
		u64 none = 0;

		c = &D.contexts[b][i];
		if (c->context || !__atomic_compare_exchange_n(&c->context, &none, AGENT_BUSY, 0,
		                                               __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		c->first = c->n_links = c->n_live = 0;
		__atomic_store_n(&c->context, context, __ATOMIC_RELEASE);
		return c;
	}
	__atomic_fetch_sub(&D.context_filter[b], 1, __ATOMIC_SEQ_CST);
	return 0;
}

/* ---- links: 1 + index; 0 is none ---- */

static struct agent_link *link_at(u32 link)
{
	return &D.links[(link - 1) % AGENT_LINKS];
}

static u32 take_link(void)
{
	u64 was = __atomic_load_n(&D.free_links, __ATOMIC_ACQUIRE), now;
	u32 fresh;

	while ((u32)was) {
		now = ((was >> 32) + 1) << 32 | link_at((u32)was)->next;
		if (__atomic_compare_exchange_n(&D.free_links, &was, now, 0, __ATOMIC_ACQ_REL,
		                                __ATOMIC_ACQUIRE))
			return (u32)was;
	}
	fresh = __atomic_load_n(&D.n_links, __ATOMIC_RELAXED);
	do {
		if (fresh >= AGENT_LINKS)
			return 0;
	} while (!__atomic_compare_exchange_n(&D.n_links, &fresh, fresh + 1, 0, __ATOMIC_ACQ_REL,
	                                      __ATOMIC_RELAXED));
	return fresh + 1;
}

static void give_link(u32 link)
{
	u64 was = __atomic_load_n(&D.free_links, __ATOMIC_ACQUIRE), now;

	do {
		link_at(link)->next = (u32)was;
		now = ((was >> 32) + 1) << 32 | link;
	} while (!__atomic_compare_exchange_n(&D.free_links, &was, now, 0, __ATOMIC_ACQ_REL,
	                                      __ATOMIC_ACQUIRE));
}

static void chain(struct agent_context *c, u32 link)
{
	u32 first = __atomic_load_n(&c->first, __ATOMIC_RELAXED);

	do {
		link_at(link)->next = first;
	} while (!__atomic_compare_exchange_n(&c->first, &first, link, 0, __ATOMIC_ACQ_REL,
	                                      __ATOMIC_RELAXED));
	__atomic_fetch_add(&c->n_links, 1, __ATOMIC_RELAXED);
}

/* ---- */

static int is_live(u64 ptr, u64 seq)
{
	const u32 b = hash(ptr, AGENT_BUCKET_BITS);

	for (u32 i = 0; i < AGENT_BUCKET_ENTRIES; i++) {
		if (D.entries[b][i].ptr == ptr && D.entries[b][i].seq == seq)
			return 1;
	}
	return 0;
}

/* Drop links whose blocks are gone. */
static void tidy(struct agent_context *c)
{
	u32 link = __atomic_exchange_n(&c->first, 0, __ATOMIC_ACQ_REL);

	__atomic_store_n(&c->n_links, 0, __ATOMIC_RELAXED);
	for (u32 i = 0; link && i < AGENT_LINKS; i++) {
		const u32 next = link_at(link)->next;

		if (is_live(link_at(link)->ptr, link_at(link)->seq))
			chain(c, link);
		else
			give_link(link);
		link = next;
	}
}

/* The entry goes, and the links; with @take also the blocks. */
static void end_context(struct agent_context *c, u64 context, int take)
{
	u32 link = __atomic_exchange_n(&c->first, 0, __ATOMIC_ACQ_REL);
	struct agent_entry e;

	if (__atomic_compare_exchange_n(&c->context, &context, 0, 0, __ATOMIC_ACQ_REL,
	                                __ATOMIC_RELAXED))
		__atomic_fetch_sub(&D.context_filter[hash(context, AGENT_CONTEXT_BITS)], 1,
		                   __ATOMIC_SEQ_CST);
	for (u32 i = 0; link && i < AGENT_LINKS; i++) {
		const u32 next = link_at(link)->next;

		if (take && take_out_entry(link_at(link)->ptr, link_at(link)->seq, &e))
			count(&D.counters.reset, 1);
		give_link(link);
		link = next;
	}
}

/* Room for one more block in its context; before the block is put in. */
static int context_add(u64 context, u64 ptr, u64 seq)
{
	struct agent_context *c = make_context(context);
	const u32 link = c ? take_link() : 0;

	if (!link) {
		if (c && !c->n_live)
			end_context(c, context, 0);
		return 0;
	}
	link_at(link)->ptr = ptr;
	link_at(link)->seq = seq;
	if (c->n_links > 2 * c->n_live + 32)
		tidy(c);
	__atomic_fetch_add(&c->n_live, 1, __ATOMIC_RELAXED);
	chain(c, link);
	return 1;
}

/* One block of it was taken out. */
static void context_sub(u64 context)
{
	struct agent_context *c = find_context(context);

	if (c && c->n_live && !__atomic_sub_fetch(&c->n_live, 1, __ATOMIC_RELAXED))
		end_context(c, context, 0);
}

static void context_reset(u64 context)
{
	struct agent_context *c = is_context(context) ? find_context(context) : 0;

	if (!c)
		return;
	count(&D.counters.resets, 1);
	end_context(c, context, 1);
}
