/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/spare.h"

#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

enum { LARGE = 1 << 20, KEPT = 8 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *kept[KEPT];
static size_t n_kept;

/* The smallest that is large enough and not too large; n_kept: none. */
static size_t find(size_t bytes)
{
	size_t best = n_kept, least = 2 * bytes;

	for (size_t i = 0; i < n_kept; i++) {
		const size_t size = malloc_usable_size(kept[i]);

		if (size >= bytes && size <= least) {
			best = i;
			least = size;
		}
	}
	return best;
}

void *spare_take(size_t bytes)
{
	void *p = NULL;
	size_t at;

	pthread_mutex_lock(&lock);
	at = find(bytes);
	if (at < n_kept) {
		p = kept[at];
		kept[at] = kept[--n_kept];
	}
	pthread_mutex_unlock(&lock);
	return p ? p : malloc(bytes);
}

void spare_give(void *p)
{
	bool is_kept = false;

	pthread_mutex_lock(&lock);
	if (p && n_kept < KEPT && malloc_usable_size(p) >= LARGE) {
		kept[n_kept++] = p;
		is_kept = true;
	}
	pthread_mutex_unlock(&lock);
	if (!is_kept)
		free(p);
}

void spare_drop(void)
{
	pthread_mutex_lock(&lock);
	while (n_kept)
		free(kept[--n_kept]);
	pthread_mutex_unlock(&lock);
}
