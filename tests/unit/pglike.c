/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A program with the tables and exported names of a PostgreSQL server of
 * version MAJOR and nothing else, so that the search for method tables has a
 * fixture where no server can be had. Built with -rdynamic, with and without
 * -pie; what is static here is static there.
 */

#include <stddef.h>
#include <stdio.h>

#define EXPORTED __attribute__((visibility("default"), noinline))
#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

typedef void method(void *, size_t);

struct context {
	int type;
	size_t allocated;
	const void *methods;
};

void *TopMemoryContext;
EXPORTED void MemoryContextCreate(struct context *node, int type, long methods_or_id);
static volatile int sink;

/* each does something else: equal functions would be folded */
#define METHOD(linkage, class, name, n)                                                            \
	linkage void class##name(void *p, size_t size)                                             \
	{                                                                                          \
		sink = (int)size + n;                                                              \
		if (size == n)                                                                     \
			class##Helper(p);                                                          \
	}

#define CLASS(linkage, class, n)                                                                   \
	static __attribute__((noinline)) void class##Helper(void *p)                               \
	{                                                                                          \
		sink = n * 1000;                                                                   \
		puts(TEXT(class));                                                                 \
	}                                                                                          \
	METHOD(linkage, class, Alloc, n * 100 + 1)                                                 \
	METHOD(linkage, class, Free, n * 100 + 2)                                                  \
	METHOD(linkage, class, Realloc, n * 100 + 3)                                               \
	METHOD(linkage, class, Reset, n * 100 + 4)                                                 \
	METHOD(linkage, class, Delete, n * 100 + 5)                                                \
	METHOD(linkage, class, GetChunkContext, n * 100 + 6)                                       \
	METHOD(linkage, class, GetChunkSpace, n * 100 + 7)                                         \
	METHOD(linkage, class, IsEmpty, n * 100 + 8)                                               \
	METHOD(linkage, class, Stats, n * 100 + 9)

#if MAJOR <= 15

#define TABLE(class)                                                                               \
	static method *const class##Methods[] = { class##Alloc,   class##Free,                     \
		                                  class##Realloc, class##Reset,                    \
		                                  class##Delete,  class##GetChunkSpace,            \
		                                  class##IsEmpty, class##Stats };
#define CREATOR(class, name)                                                                       \
	EXPORTED void name(struct context *node)                                                   \
	{                                                                                          \
		sink = sizeof(class##Methods);                                                     \
		MemoryContextCreate(node, sink, (long)class##Methods);                             \
	}
#define OLD_CLASS(class, n, creator)                                                               \
	CLASS(static, class, n)                                                                    \
	__attribute__((used)) static void class##Unused(void *p)                                   \
	{                                                                                          \
		class##GetChunkContext(p, 1);                                                      \
	}                                                                                          \
	TABLE(class)                                                                               \
	CREATOR(class, creator)

OLD_CLASS(AllocSet, 1, AllocSetContextCreateInternal)
OLD_CLASS(Generation, 2, GenerationContextCreate)
OLD_CLASS(Slab, 3, SlabContextCreate)

void MemoryContextCreate(struct context *node, int type, long methods)
{
	node->type = type;
	node->methods = (const void *)methods;
}

#else

CLASS(EXPORTED, AllocSet, 1)
CLASS(EXPORTED, Generation, 2)
CLASS(EXPORTED, Slab, 3)
static __attribute__((noinline)) void AlignedAllocHelper(void *p)
{
	sink = 4000;
}
METHOD(EXPORTED, AlignedAlloc, Free, 402)
METHOD(EXPORTED, AlignedAlloc, Realloc, 403)
METHOD(EXPORTED, AlignedAlloc, GetChunkContext, 406)
METHOD(EXPORTED, AlignedAlloc, GetChunkSpace, 407)
#define ENTRY(class)                                                                               \
	{                                                                                          \
		class##Alloc, class##Free, class##Realloc, class##Reset, class##Delete,            \
			class##GetChunkContext, class##GetChunkSpace, class##IsEmpty, class##Stats \
	}
#define NAMED(class)                                                                               \
	EXPORTED void class##ContextCreate(struct context *node);                                  \
	void class##ContextCreate(struct context *node)                                            \
	{                                                                                          \
		sink = __LINE__;                                                                   \
	}
#if MAJOR >= 17
CLASS(EXPORTED, Bump, 5)
NAMED(Bump)
enum { N_ENTRIES = 16 };
#else
enum { N_ENTRIES = 8 };
#endif

static void BogusFree(void *p, size_t n)
{
	sink = 9001;
}
static void BogusRealloc(void *p, size_t n)
{
	sink = 9002;
}
static void BogusContext(void *p, size_t n)
{
	sink = 9003;
}
static void BogusSpace(void *p, size_t n)
{
	sink = 9004;
}
#define BOGUS                                                                                      \
	{                                                                                          \
		NULL, BogusFree, BogusRealloc, NULL, NULL, BogusContext, BogusSpace, NULL, NULL    \
	}

static method *const mcxt_methods[N_ENTRIES][9] = {
	[0] = BOGUS,
	[1] = BOGUS,
	[2] = BOGUS,
	[3] = ENTRY(AllocSet),
	[4] = ENTRY(Generation),
	[5] = ENTRY(Slab),
	[6] = { NULL, AlignedAllocFree, AlignedAllocRealloc, NULL, NULL,
	        AlignedAllocGetChunkContext, AlignedAllocGetChunkSpace, NULL, NULL },
#if MAJOR >= 17
	[7] = ENTRY(Bump),
	[8 ... 15] = BOGUS,
#else
	[7] = BOGUS,
#endif
};

EXPORTED void AllocSetContextCreateInternal(struct context *node)
{
	MemoryContextCreate(node, 1, 3);
}
NAMED(Generation)
NAMED(Slab)

void MemoryContextCreate(struct context *node, int type, long id)
{
	node->type = type;
	node->methods = mcxt_methods[id];
}

#endif

int main(void)
{
	struct context c = { 0 };

	TopMemoryContext = &c;
	puts("PostgreSQL " TEXT(MAJOR) ".99 on a machine");
	AllocSetContextCreateInternal(&c);
	SlabContextCreate(&c);
	return c.methods == NULL;
}
