/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The objects of a process's heap and who refers to whom, as a runtime makes it
 * and refs/ reads it: nodes with an address, size and type, edges with labels,
 * roots with names. It knows no runtime.
 *
 * The surprising rule: the nodes come in the order in which a walk from the roots
 * meets them, and a node's edges are all added before the next node's (CSR). Sizes
 * and labels are few and stand as numbers of two bytes: read them by
 * object_graph_size() and object_graph_label(). 18 bytes a node and 6 an edge.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

/* Tiers of roots, the strongest first: an edge from a weaker tier never makes a
 * stronger tier's object "shared". */
enum object_tier {
	OBJECT_TIER_GLOBAL,
	OBJECT_TIER_THREAD_LOCAL,
	OBJECT_TIER_ANONYMOUS,
	OBJECT_TIER_STACK,
	OBJECT_TIER_REGISTER, /* and what waits: timers, finalizers */
	OBJECT_TIER_RUNTIME,  /* its own records, which lead to everything */
	/* No root of the collector, but worth a row: one object (a coroutine) that others hold. Its
	 * root has one edge, to the object, and the row says what the object retains. */
	OBJECT_TIER_HELD,
	OBJECT_TIERS,
};

/* How sure the type of an object is. */
enum object_typed {
	OBJECT_UNTYPED,
	OBJECT_TYPED_SHAPE, /* size and pointer mask fit one known type only: a guess */
	OBJECT_TYPED,       /* by its own header, or by the type of what refers to it */
	OBJECT_TYPED_PART, /* and it is an inside of its holder, whose type it has: a table of a map
	                    */
};

struct object_root {
	uint32_t name; /* text: "main.gManager", "_G.sessions", "goroutines of main.worker" */
	uint32_t type; /* text: "*main.Manager"; 0 none */
	uint32_t kind; /* text: "global", "stack", "finalizer", "timer", "registry", ... */
	enum object_tier tier;
	uint32_t first_edge, n_edges; /* into root_edges */
	/* of threads of control that are one root together */
	uint32_t members;    /* how many; 0: it is none */
	uint32_t created_by; /* text: "main.serve"; 0 not known */
	uint32_t state;      /* text: what they wait for, "chan receive 1200, running 4" */
};

/* Of a root. */
struct object_edge {
	uint32_t to;    /* node */
	uint32_t label; /* text: the field path ".clusters", "[…]", "[key]"; 0 none */
};

/* An object whose allocation the runtime has sampled. */
struct object_birth {
	uint32_t node;           /* UINT32_MAX: nothing reaches it any more */
	uint32_t stack;          /* of birth_stacks */
	uint64_t bytes, objects; /* how many the one stands for */
};

struct object_birth_stack {
	uint32_t first, n; /* in birth_frames, the innermost first */
};

enum { OBJECT_FAR = UINT16_MAX }; /* no number of two bytes: by object_far */

/* What has no short number; ascending. */
struct object_far {
	uint32_t of; /* node, or edge */
	uint32_t unused;
	uint64_t value; /* size, or label */
};

struct object_graph {
	/* nodes, n_nodes each */
	uint64_t *address;
	uint16_t *size_code;  /* index of sizes, or OBJECT_FAR */
	uint32_t *type;       /* text id << 2 | enum object_typed */
	uint32_t *first_edge; /* n_nodes + 1: edges of node i are [first_edge[i], first_edge[i + 1])
	                       */
	size_t n_nodes, cap_nodes;
	size_t n_started; /* nodes whose first_edge is set */
	/* edges, n_edges each, fewer than 2^32 */
	uint32_t *to;         /* node */
	uint16_t *label_code; /* index of labels, or OBJECT_FAR */
	size_t n_edges, cap_edges;
	struct object_root *roots;
	size_t n_roots, cap_roots;
	struct object_edge *root_edges;
	size_t n_root_edges, cap_root_edges;
	uint64_t *sizes; /* bytes, at most OBJECT_FAR of them */
	size_t n_sizes, cap_sizes;
	uint32_t *labels; /* texts: field paths, at most OBJECT_FAR of them */
	size_t n_labels, cap_labels;
	struct object_far *far_sizes, *far_labels;
	size_t n_far_sizes, cap_far_sizes, n_far_labels, cap_far_labels;

	/* births: only of what the runtime has sampled; birth_rate 0: it does not */
	struct object_birth *births;
	size_t n_births, cap_births;
	struct object_birth_stack *birth_stacks;
	size_t n_birth_stacks, cap_birth_stacks;
	uint32_t *birth_frames; /* texts: functions */
	size_t n_birth_frames, cap_birth_frames;
	uint64_t birth_rate; /* bytes from one sample to the next, on average */

	/* while it is made */
	struct hash_map size_codes;
	struct {
		uint64_t size;
		uint16_t code;
	} sizes_lately[64];   /* 0: none */
	uint16_t *text_codes; /* of each text that is a label: its code + 1; 0 none */
	size_t n_text_codes, cap_text_codes;

	/* texts, interned: id -> offset in chars; id 0 is "" */
	char *chars;
	size_t n_chars, cap_chars;
	uint32_t *texts;
	size_t n_texts, cap_texts;
	struct hash_map index; /* hash of a text -> its id */

	/* of a saved graph: where the arrays are instead of in memory of their own */
	void *mapped;
	size_t mapped_bytes;

	/* the runtime's own account, for the self-check and the report; 0 unknown */
	uint64_t own_live_bytes, own_live_objects;
	uint64_t garbage_bytes, garbage_objects; /* allocated, not reached, not swept yet */
	bool is_moving;                          /* it was read while the process ran */
	bool is_scattered; /* a node's bytes are of several blocks, the first at its address: only
	                    * that address is known to be its own */
	uint64_t changed_bytes; /* of what changed meanwhile */
	bool partial;           /* the walk was ended: what was reached until then */
	char runtime[64];       /* "Go 1.26.8", "Lua 5.4" */
};
void object_graph_clear(struct object_graph *g); /* { 0 } is empty */

/* Intern a text. */
int object_graph_text(struct object_graph *g, const char *s, size_t len, uint32_t *ret,
                      struct error *err);
const char *object_graph_name(const struct object_graph *g, uint32_t id);

/* About @n nodes will come: room for them is made at once, if there is so much. A wish: more may
 * come, or fewer, and what is not used takes no memory. */
void object_graph_expect(struct object_graph *g, size_t n);
/* A new node; its id is n_nodes before the call. -E2BIG at 2^32 - 1 nodes. */
int object_graph_node(struct object_graph *g, uint64_t address, uint64_t size, struct error *err);
static inline void object_graph_set_type(struct object_graph *g, uint32_t node, uint32_t type,
                                         enum object_typed how)
{
	g->type[node] = type << 2 | (uint32_t)how;
}

/* Where there is room for it. */
static inline void object_graph_put_edge(struct object_graph *g, uint32_t from, uint32_t to,
                                         uint16_t label_code)
{
	while (g->n_started <= from)
		g->first_edge[g->n_started++] = (uint32_t)g->n_edges;
	g->to[g->n_edges] = to;
	g->label_code[g->n_edges++] = label_code;
}

/* object_graph_edge() when something is to be made for it. */
int object_graph_new_edge(struct object_graph *g, uint32_t from, uint32_t to, uint32_t label,
                          struct error *err);

/* Edges of node @from: ascending @from only. */
static inline int object_graph_edge(struct object_graph *g, uint32_t from, uint32_t to,
                                    uint32_t label, struct error *err)
{
	if (from >= g->n_nodes || from + 1 < g->n_started || g->n_edges >= g->cap_edges ||
	    label >= g->n_text_codes || !g->text_codes[label])
		return object_graph_new_edge(g, from, to, label, err);
	object_graph_put_edge(g, from, to, (uint16_t)(g->text_codes[label] - 1));
	return 0;
}

/* The label of an edge that has none. */
int object_graph_set_label(struct object_graph *g, size_t edge, uint32_t label, struct error *err);
/* After the last edge: fills first_edge of the nodes that have none. */
int object_graph_finish(struct object_graph *g, struct error *err);

/* Give the nodes other numbers: node i becomes @turn[i], each number once. For makers who meet
 * objects in another order than the one in which they look at them: the edges were added by turn
 * (@from), to numbers as they are now. After object_graph_finish(). */
int object_graph_reorder(struct object_graph *g, const uint32_t *turn, struct error *err);

int object_graph_root(struct object_graph *g, const struct object_root *root, struct error *err);
/* An edge of the last root. */
int object_graph_root_edge(struct object_graph *g, uint32_t to, uint32_t label, struct error *err);

/* What is far, by node or edge. */
uint64_t object_graph_far(const struct object_far *items, size_t n, uint32_t of);

/* A new stack of @n functions, the innermost first: *ret its number. */
int object_graph_birth_stack(struct object_graph *g, const uint32_t *frames, size_t n,
                             uint32_t *ret, struct error *err);
int object_graph_birth(struct object_graph *g, const struct object_birth *birth, struct error *err);

/* Bytes of @node. */
static inline uint64_t object_graph_size(const struct object_graph *g, uint32_t node)
{
	const uint16_t code = g->size_code[node];

	return code != OBJECT_FAR ? g->sizes[code]
	                          : object_graph_far(g->far_sizes, g->n_far_sizes, node);
}

/* Text of edge @edge. */
static inline uint32_t object_graph_label(const struct object_graph *g, uint32_t edge)
{
	const uint16_t code = g->label_code[edge];

	return code != OBJECT_FAR
	               ? g->labels[code]
	               : (uint32_t)object_graph_far(g->far_labels, g->n_far_labels, edge);
}

/* Nodes from this one on refer to nothing (a walk meets them last); n_nodes: there are none. After
 * object_graph_finish(). */
uint32_t object_graph_first_leaf(const struct object_graph *g);

/* The node that holds @addr, or begins there if is_scattered; UINT32_MAX: none. Linear. */
uint32_t object_graph_find(const struct object_graph *g, uint64_t addr);
