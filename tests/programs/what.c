/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Addresses of which the test knows what they are. Prints "name 0xADDRESS" lines,
 * then "ready", and waits until its standard input ends.
 */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int what_object[16] = { 1, 2, 3 };
int what_bss[16];

static void say(const char *name, const volatile void *p)
{
	printf("%s %p\n", name, (void *)p);
}

static void *worker(void *arg)
{
	char here = 0;

	say("thread-stack", &here);
	say("thread-block", memset(malloc(2000), 'y', 2000));
	fflush(stdout);
	pthread_barrier_wait(arg);
	pause();
	return NULL;
}

int main(void)
{
	static uintptr_t *block;
	char here = 0, *freed, *cached, *huge, *map;
	pthread_barrier_t both;
	pthread_t thread;

	pthread_barrier_init(&both, NULL, 2);
	block = malloc(1000);
	block[0] = (uintptr_t)what_object;
	block[1] = 42;
	block[2] = (uintptr_t)block;
	block[3] = 0;
	freed = malloc(3000);
	cached = malloc(1000);
	say("keeps-apart", malloc(100)); /* else the freed one becomes part of top */
	huge = malloc(1 << 20);
	snprintf(huge, 32, "a text that goes on");
	map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	map[0] = 1;
	say("block", block);
	say("freed", freed);
	say("cached", cached);
	say("huge", huge);
	say("mapped", map);
	say("untouched", map + (1 << 19));
	say("object", &what_object[2]);
	say("bss", &what_bss[1]);
	say("function", (void *)(uintptr_t)main);
	say("stack", &here);
	if (pthread_create(&thread, NULL, worker, &both))
		return 1;
	pthread_setname_np(thread, "worker-7");
	pthread_barrier_wait(&both);
	free(freed);
	free(cached);
	puts("ready");
	fflush(stdout);
	while (read(0, &here, 1) > 0)
		;
	return 0;
}
