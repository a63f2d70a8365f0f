/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "serve/listen.h"
#include "target/proc.h"

enum { MAX_TOKEN = 4096, LEAST_TOKEN = 16, ANSWER_BYTES = 8192, ANSWER_MS = 200 };

/* ---- sock_diag ---- */

struct question {
	struct nlmsghdr header;
	struct inet_diag_req_v2 req;
};

/* The port and the address of one end, as inet_diag_sockid has them. */
static void put_end(const struct sockaddr_storage *a, __be16 *port, __be32 address[4])
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

	*port = a->ss_family == AF_INET ? v4->sin_port : v6->sin6_port;
	if (a->ss_family == AF_INET)
		address[0] = v4->sin_addr.s_addr;
	else
		memcpy(address, &v6->sin6_addr, sizeof(v6->sin6_addr));
}

static int ask(int netlink, const struct sockaddr_storage *theirs,
               const struct sockaddr_storage *ours)
{
	struct question q = {
		.header = { .nlmsg_len = sizeof(q),
		            .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		            .nlmsg_flags = NLM_F_REQUEST },
		.req = { .sdiag_family = (__u8)theirs->ss_family,
		         .sdiag_protocol = IPPROTO_TCP,
		         .idiag_states = ~0u,
		         .id = { .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } } },
	};
	const struct timeval patience = { .tv_usec = ANSWER_MS * 1000 };

	setsockopt(netlink, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	put_end(theirs, &q.req.id.idiag_sport, q.req.id.idiag_src);
	put_end(ours, &q.req.id.idiag_dport, q.req.id.idiag_dst);
	return send(netlink, &q, sizeof(q), 0) == (ssize_t)sizeof(q) ? 0 : -errno;
}

/* A socket that its process has closed has no owner any more: the kernel then says
 * uid 0 and inode 0 (inet_diag.c, inet_twsk_diag_fill and sock_i_uid), and that is not root. */
static bool take_answer(int netlink, uid_t *ret)
{
	_Alignas(struct nlmsghdr) char data[ANSWER_BYTES];
	ssize_t n = recv(netlink, data, sizeof(data), 0);
	const struct nlmsghdr *h = (const struct nlmsghdr *)data;
	const struct inet_diag_msg *m = NLMSG_DATA(h);

	if (n < 0 || !NLMSG_OK(h, (size_t)n) || h->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
	    h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return false;
	if (!m->idiag_inode || m->idiag_state == TCP_TIME_WAIT || m->idiag_state == TCP_CLOSE)
		return false;
	*ret = m->idiag_uid;
	return true;
}

static bool uid_of_tcp(int fd, uid_t *ret)
{
	struct sockaddr_storage theirs = { 0 }, ours = { 0 };
	socklen_t their_len = sizeof(theirs), our_len = sizeof(ours);
	cleanup_close int netlink = -1;

	if (getpeername(fd, (struct sockaddr *)&theirs, &their_len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&ours, &our_len) < 0 ||
	    !listen_is_loopback_peer((struct sockaddr *)&theirs))
		return false;
	netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	return netlink >= 0 && ask(netlink, &theirs, &ours) == 0 && take_answer(netlink, ret);
}

void peer_identify(int fd, struct peer *ret)
{
	struct ucred cred;
	struct sockaddr_storage a;
	socklen_t len = sizeof(cred), a_len = sizeof(a);

	*ret = (struct peer){ .uid = (uid_t)-1 };
	if (getsockname(fd, (struct sockaddr *)&a, &a_len) < 0)
		return;
	if (a.ss_family == AF_UNIX) {
		ret->is_known = !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
		ret->uid = ret->is_known ? cred.uid : (uid_t)-1;
	} else {
		ret->is_known = uid_of_tcp(fd, &ret->uid);
	}
	ret->sees_all = ret->is_known && ret->uid == 0;
}

/* ---- processes ---- */

bool peer_may_see(const struct peer *p, pid_t pid)
{
	cleanup_close int dir = -1;
	cleanup_free char *status = NULL;
	const char *line;
	unsigned ids[4];
	struct stat st;

	if (p->sees_all)
		return true;
	dir = p->is_known ? proc_open(pid) : -1;
	if (dir < 0 || fstat(dir, &st) < 0 || st.st_uid != p->uid ||
	    proc_read(dir, "status", 65536, &status, NULL) < 0)
		return false;
	line = proc_status_line(status, "Uid");
	if (!line || sscanf(line, "%u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) != 4)
		return false;
	return ids[0] == p->uid && ids[1] == p->uid && ids[2] == p->uid && ids[3] == p->uid;
}

/* ---- tokens ---- */

bool peer_has_token(const char *given, const char *token)
{
	static const char scheme[] = "Bearer ";
	size_t n = strlen(token), m;
	unsigned char differs = 0;

	if (!given || strncasecmp(given, scheme, sizeof(scheme) - 1) != 0)
		return false;
	given += sizeof(scheme) - 1;
	m = strlen(given);
	/* the length is no secret; how many characters are right is one */
	for (size_t i = 0; i < n; i++)
		differs |= (unsigned char)(token[i] ^ (i < m ? given[i] : '\0'));
	return !differs && n == m;
}

int peer_read_token(const char *path, char **ret, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char text[MAX_TOKEN + 1];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_sys(err, errno, "cannot read the token file %s", path);
	if (!S_ISREG(st.st_mode) || st.st_mode & 077 || (st.st_uid && st.st_uid != geteuid())) {
		error_set(err, EPERM, "token file %s: others may read or change it", path);
		return error_hint(err, "chmod 600 %s", path);
	}
	n = read(fd, text, MAX_TOKEN);
	if (n < 0)
		return error_sys(err, errno, "cannot read the token file %s", path);
	text[n] = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	if (strlen(text) < LEAST_TOKEN)
		return error_set(err, EINVAL, "token file %s: a token has at least %d characters",
		                 path, LEAST_TOKEN);
	*ret = strdup(text);
	return *ret ? 0 : error_oom(err);
}
