/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Exact mode's contexts (pools), whose blocks go all at once. Part of agent_exact.c; the laws
 * of agent.c hold here.
 *
 * A block says of which context it is, and of which generation (agent_exact_ref()). A reset
 * costs the same however many blocks there are: the context's generation is one more, and what
 * is of an older one is no block any more, wherever it lies. Its place in the set is free for
 * others. So a context's sums are kept here, for what goes with it.
 *
 * An entry whose context has no blocks is taken by another one; its generation goes on.
 */

static struct agent_exact_context *context_at(struct agent_exact *x, u64 ref)
{
	return (struct agent_exact_context *)at(x, x->contexts) + agent_exact_ref_index(ref);
}

static int context_lives(struct agent_exact *x, u64 ref)
{
	return !ref || __atomic_load_n(&context_at(x, ref)->generation, __ATOMIC_ACQUIRE) ==
	                       (u32)(ref >> 32);
}

static u64 ref_to(struct agent_exact *x, const struct agent_exact_context *c)
{
	const struct agent_exact_context *all = at(x, x->contexts);

	return agent_exact_ref((u32)(c - all), __atomic_load_n(&c->generation, __ATOMIC_ACQUIRE));
}

/* The @i-th place where @context may be. */
static struct agent_exact_context *context_try(struct agent_exact *x, u64 context, u32 i)
{
	const u32 first = ((u32)(context >> 3) * AGENT_HASH) >> (32 - AGENT_EXACT_CONTEXT_BITS);

	return context_at(x, (u64)first + i + 1);
}

static struct agent_exact_context *context_find(struct agent_exact *x, u64 context)
{
	for (u32 i = 0; i < AGENT_EXACT_CONTEXT_TRIES; i++) {
		struct agent_exact_context *c = context_try(x, context, i);
		const u64 there = __atomic_load_n(&c->context, __ATOMIC_ACQUIRE);

		if (there == context)
			return c;
		if (!there) /* it never was in use, so nothing lies behind it */
			return 0;
	}
	return 0;
}

/* An entry that is free, or whose context has no blocks. */
static int context_claim(struct agent_exact_context *c, u64 context)
{
	u64 there = __atomic_load_n(&c->context, __ATOMIC_ACQUIRE);

	if (there == AGENT_BUSY || (there && c->objects) ||
	    !__atomic_compare_exchange_n(&c->context, &there, AGENT_BUSY, 0, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_RELAXED))
		return 0;
	__atomic_fetch_add(&c->generation, 1, __ATOMIC_ACQ_REL);
	c->objects = c->bytes = 0;
	__atomic_store_n(&c->context, context, __ATOMIC_RELEASE);
	return 1;
}

static struct agent_exact_context *context_make(struct agent_exact *x, u64 context)
{
	struct agent_exact_context *c = context_find(x, context);

	for (u32 i = 0; !c && i < AGENT_EXACT_CONTEXT_TRIES; i++) {
		c = context_try(x, context, i);
		if (!context_claim(c, context))
			c = 0;
	}
	return c;
}

/* One block more: its ref; 0: no room to know the context. */
static u64 context_add(struct agent_exact *x, u64 context, u64 bytes)
{
	struct agent_exact_context *c = context_make(x, context);

	if (!c)
		return 0;
	count(&c->objects, 1);
	count(&c->bytes, bytes);
	return ref_to(x, c);
}

static void context_again(struct agent_exact *x, u64 ref, u64 bytes)
{
	if (!ref || !x->contexts || !context_lives(x, ref))
		return;
	count(&context_at(x, ref)->objects, 1);
	count(&context_at(x, ref)->bytes, bytes);
}

/* One less. */
static void context_sub(struct agent_exact *x, u64 ref, u64 bytes)
{
	if (!ref || !x->contexts || !context_lives(x, ref))
		return;
	count(&context_at(x, ref)->objects, -1ull);
	count(&context_at(x, ref)->bytes, -bytes);
}

/* 1, and what has gone. */
static int context_reset(struct agent_exact *x, u64 context, u64 *objects, u64 *bytes)
{
	struct agent_exact_context *c = x->contexts && context > AGENT_BUSY
	                                        ? context_find(x, context)
	                                        : 0;

	if (!c || !c->objects)
		return 0;
	__atomic_fetch_add(&c->generation, 1, __ATOMIC_ACQ_REL);
	*objects = __atomic_exchange_n(&c->objects, 0, __ATOMIC_RELAXED);
	*bytes = __atomic_exchange_n(&c->bytes, 0, __ATOMIC_RELAXED);
	return 1;
}
