/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A server with two allocators: its own objects come from a jemalloc with the
 * prefix je_ that is linked in, what the C library needs for itself from
 * glibc's malloc. One worker opens a file with fopen(), the only call of malloc
 * outside the first thread: with that glibc makes it an arena of 64 MiB.
 *
 *	silly FILE [wait]     FILE is opened; with "wait" only after a line on stdin
 *
 * "ready PID" is printed before, "open" when the file is open; it ends with its
 * standard input.
 */

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *je_malloc(size_t n);
void je_free(void *p);

enum { N_OBJECTS = 2000, OBJECT_BYTES = 1800 };

static void *objects[N_OBJECTS];
static const char *path;
static FILE *file;
static sem_t go, opened;

static void *open_and_sleep(void *name)
{
	pthread_setname_np(pthread_self(), name);
	while (sem_wait(&go))
		;
	file = fopen(path, "r");
	sem_post(&opened);
	for (;;)
		pause();
	return NULL;
}

static void *sleep_only(void *name)
{
	pthread_setname_np(pthread_self(), name);
	for (;;)
		pause();
	return NULL;
}

static void make_objects(void)
{
	for (int i = 0; i < N_OBJECTS; i++) {
		objects[i] = je_malloc(OBJECT_BYTES);
		if (!objects[i])
			exit(1);
		memset(objects[i], i, OBJECT_BYTES);
	}
	for (int i = 0; i < N_OBJECTS; i += 10)
		je_free(objects[i]);
}

static void start(void *(*run)(void *), const char *name)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, (void *)name))
		exit(1);
}

static void say(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		exit(1);
}

int main(int argc, char **argv)
{
	char buf[64];

	if (argc < 2)
		return 2;
	path = argv[1];
	sem_init(&go, 0, 0);
	sem_init(&opened, 0, 0);
	make_objects();
	start(open_and_sleep, "worker-0");
	start(sleep_only, "worker-1");
	start(sleep_only, "timer");
	snprintf(buf, sizeof(buf), "ready %d\n", getpid());
	say(buf);
	if (argc > 2 && read(STDIN_FILENO, buf, sizeof(buf)) <= 0)
		return 0;
	sem_post(&go);
	while (sem_wait(&opened))
		;
	if (!file)
		return 1;
	say("open\n");
	while (read(STDIN_FILENO, buf, sizeof(buf)) > 0)
		;
	return 0;
}
