/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/listen.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { BACKLOG = 1024, FIRST_INHERITED = 3 };

static int parse_unix(const char *path, struct listen_address *ret, struct error *err)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&ret->to;

	if (*path != '/')
		return error_set(err, EINVAL, "listen = unix:%s: not an absolute path", path);
	if (strlen(path) >= sizeof(un->sun_path))
		return error_set(err, EINVAL, "listen: a socket's path has at most %zu bytes",
		                 sizeof(un->sun_path) - 1);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	ret->len = sizeof(*un);
	ret->is_unix = true;
	return 0;
}

static bool parse_port(const char *text, uint16_t *ret)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (!isdigit((unsigned char)*text) || *end || v > UINT16_MAX)
		return false;
	*ret = htons((uint16_t)v);
	return true;
}

static bool parse_host(const char *host, uint16_t port, struct listen_address *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&ret->to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ret->to;
	size_t len = strlen(host);
	char inside[64];

	if (inet_pton(AF_INET, !strcmp(host, "localhost") ? "127.0.0.1" : host, &v4->sin_addr) ==
	    1) {
		v4->sin_family = AF_INET;
		v4->sin_port = port;
		ret->len = sizeof(*v4);
		return true;
	}
	if (len < 4 || len >= sizeof(inside) || host[0] != '[' || host[len - 1] != ']')
		return false;
	memcpy(inside, host + 1, len - 2);
	inside[len - 2] = '\0';
	if (inet_pton(AF_INET6, inside, &v6->sin6_addr) != 1)
		return false;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = port;
	ret->len = sizeof(*v6);
	return true;
}

int listen_parse(const char *text, struct listen_address *ret, struct error *err)
{
	const char *colon = strrchr(text, ':');
	struct listen_address a = { 0 };
	char host[64];
	uint16_t port;
	int r;

	if (!strncmp(text, "unix:", 5)) {
		r = parse_unix(text + 5, &a, err);
		if (r == 0)
			*ret = a;
		return r;
	}
	if (!colon || (size_t)(colon - text) >= sizeof(host) || !parse_port(colon + 1, &port))
		return error_set(err, EINVAL, "listen = %s: neither unix:/PATH nor ADDRESS:PORT",
		                 text);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (!parse_host(host, port, &a)) {
		error_set(err, EINVAL, "listen = %s: %s is not an address", text, host);
		return error_hint(err, "addresses look like 127.0.0.1:8090 or [::1]:8090");
	}
	*ret = a;
	return 0;
}

bool listen_is_loopback_peer(const struct sockaddr *peer)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)peer;

	if (peer->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)peer)->sin_addr.s_addr) >> 24 == 127;
	if (peer->sa_family != AF_INET6)
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		return v6->sin6_addr.s6_addr[12] == 127;
	return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

bool listen_is_loopback(const struct listen_address *a)
{
	return !a->is_unix && listen_is_loopback_peer((const struct sockaddr *)&a->to);
}

/* Nobody listens behind the file @a any more: a service that was killed leaves it. */
static bool is_stale(const struct listen_address *a)
{
	const char *path = ((const struct sockaddr_un *)&a->to)->sun_path;
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	return fd >= 0 && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       connect(fd, (const struct sockaddr *)&a->to, a->len) < 0 && errno == ECONNREFUSED;
}

/* /run is empty after each start of the machine. Where it cannot be made bind() says so. */
static void make_folder(const struct listen_address *a)
{
	char folder[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char *slash;
	mode_t old;

	snprintf(folder, sizeof(folder), "%s", ((const struct sockaddr_un *)&a->to)->sun_path);
	slash = strrchr(folder, '/');
	if (!slash || slash == folder)
		return;
	*slash = '\0';
	old = umask(022);
	(void)!mkdir(folder, 0755);
	umask(old);
}

static int bind_to(int fd, const struct listen_address *a)
{
	/* the mode of the file is that of bind(), so that there is no moment of another one */
	mode_t old = umask(0117);
	int r = bind(fd, (const struct sockaddr *)&a->to, a->len);

	umask(old);
	return r;
}

int listen_open(const struct listen_address *a, const char *name, int *ret, struct error *err)
{
	cleanup_close int fd = socket(a->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
	                              0);
	const int on = 1;

	if (fd < 0)
		return error_sys(err, errno, "cannot make a socket");
	if (!a->is_unix)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->to.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (a->is_unix && is_stale(a))
		listen_remove(a);
	if (a->is_unix)
		make_folder(a);
	if (bind_to(fd, a) < 0 || listen(fd, BACKLOG) < 0)
		return error_sys(err, errno, "cannot listen on %s", name);
	*ret = take_fd(fd);
	return 0;
}

int listen_inherited(bool *is_unix)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);
	bool ours = pid && n && strtol(pid, NULL, 10) == getpid() && strtol(n, NULL, 10) >= 1;

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (!ours || getsockname(FIRST_INHERITED, (struct sockaddr *)&name, &len) < 0)
		return -1;
	fcntl(FIRST_INHERITED, F_SETFD, FD_CLOEXEC);
	fcntl(FIRST_INHERITED, F_SETFL, fcntl(FIRST_INHERITED, F_GETFL) | O_NONBLOCK);
	*is_unix = name.ss_family == AF_UNIX;
	return FIRST_INHERITED;
}

void listen_remove(const struct listen_address *a)
{
	if (a->is_unix)
		unlink(((const struct sockaddr_un *)&a->to)->sun_path);
}

int listen_set_group(const struct listen_address *a, const char *group, struct error *err)
{
	const struct group *g = getgrnam(group);
	char *end;
	unsigned long number = strtoul(group, &end, 10);

	if (!g && (!isdigit((unsigned char)*group) || *end))
		return error_set(err, EINVAL, "there is no group %s", group);
	if (chown(((const struct sockaddr_un *)&a->to)->sun_path, (uid_t)-1,
	          g ? g->gr_gid : (gid_t)number) < 0)
		return error_sys(err, errno, "cannot give the socket to group %s", group);
	return 0;
}

void listen_text(int fd, char *buf, size_t size)
{
	struct sockaddr_storage a = { 0 };
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a;
	socklen_t len = sizeof(a) - 1; /* a path's NUL */
	char host[INET6_ADDRSTRLEN] = "";

	getsockname(fd, (struct sockaddr *)&a, &len);
	if (a.ss_family == AF_UNIX) {
		snprintf(buf, size, "unix:%s", ((const struct sockaddr_un *)&a)->sun_path);
		return;
	}
	if (a.ss_family == AF_INET) {
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(buf, size, "%s:%u", host, ntohs(v4->sin_port));
		return;
	}
	inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
	snprintf(buf, size, "[%s]:%u", host, ntohs(v6->sin6_port));
}
