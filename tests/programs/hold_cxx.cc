// SPDX-License-Identifier: GPL-2.0-or-later
// The C++ sites of the truth program: operator new in its forms, containers, and
// ways out of operator new other than a return.
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "hold.h"

static volatile std::size_t huge = std::size_t(1) << 62;
static void *volatile sink;
static sigjmp_buf out;

struct alignas(128) wide {
	char bytes[256];
};

static void delete_one(void *p)
{
	::operator delete(p);
}
static void delete_sized(void *p)
{
	::operator delete(p, std::size_t(40));
}
static void delete_array(void *p)
{
	::operator delete[](p);
}
static void delete_nothrow(void *p)
{
	::operator delete(p, std::nothrow);
}
static void delete_wide(void *p)
{
	delete static_cast<wide *>(p);
}
static void delete_wide_array(void *p)
{
	::operator delete[](p, std::align_val_t(64));
}
static void end_string(void *p)
{
	using std::string;
	static_cast<string *>(p)->~string();
}
static void end_vector(void *p)
{
	using std::vector;
	static_cast<vector<long> *>(p)->~vector();
}

extern "C" {
long hold_caught;

SITE void site_30(struct visit *v)
{
	// of two sizes, so that both forms of delete are used
	std::size_t n = 40 + v->extra;
	hold_keep(v, 30, ::operator new(n), n, n == 40 ? delete_sized : delete_one);
	NO_TAIL_CALL();
}

SITE void site_31(struct visit *v)
{
	std::size_t n = 200 + v->extra;
	hold_keep(v, 31, ::operator new[](n), n, delete_array);
	NO_TAIL_CALL();
}

SITE void site_32(struct visit *v)
{
	std::size_t n = 64 + v->extra;
	if (::operator new(huge, std::nothrow))
		hold_fail("new of 4 EiB worked");
	hold_keep(v, 32, ::operator new(n, std::nothrow), n, delete_nothrow);
	NO_TAIL_CALL();
}

SITE void site_33(struct visit *v)
{
	hold_keep(v, 33, new wide, sizeof(wide), delete_wide);
	NO_TAIL_CALL();
}

SITE void site_34(struct visit *v)
{
	// a multiple of the alignment, as libstdc++ makes it before it calls aligned_alloc
	std::size_t n = 640 + 4 * v->extra;
	hold_keep(v, 34, ::operator new[](n, std::align_val_t(64), std::nothrow), n,
	          delete_wide_array);
	NO_TAIL_CALL();
}

SITE void site_35(struct visit *v)
{
	auto *s = new (hold_scratch(sizeof(std::string))) std::string;
	s->reserve(200 + v->extra);
	s->assign(150, 'x');
	hold_keep(v, 35, s, s->capacity() + 1, end_string);
	NO_TAIL_CALL();
}

SITE void site_36(struct visit *v)
{
	auto *a = new (hold_scratch(sizeof(std::vector<long>))) std::vector<long>;
	for (std::size_t i = 0; i < 100 + v->extra; i++)
		a->push_back(long(i));
	hold_keep(v, 36, a, a->capacity() * sizeof(long), end_vector);
	NO_TAIL_CALL();
}

void hold_cxx_round(struct visit *v)
{
	site_30(v);
	site_31(v);
	if (!std::getenv("HOLD_NO_FAILING_NEW")) // Debian's mimalloc aborts there
		site_32(v);
	site_33(v);
	site_34(v);
	site_35(v);
	site_36(v);
}

// a throwing new that fails must still throw
SITE void site_40(struct visit *v)
{
	try {
		sink = ::operator new(huge);
		hold_keep(v, SITE_THROW, sink, huge, delete_one);
	} catch (std::bad_alloc &) {
		hold_caught++;
	}
	NO_TAIL_CALL();
}

static void jump_out()
{
	siglongjmp(out, 1);
}

SITE void jump_site()
{
	std::set_new_handler(jump_out);
	if (!sigsetjmp(out, 1))
		sink = ::operator new(huge);
	std::set_new_handler(nullptr);
	NO_TAIL_CALL();
}

// after the jump a deeper call allocates: a depth counter, or comparing stack
// pointers, would take it for a nested one
SITE void site_41(struct visit *v, int depth)
{
	volatile char pad[256];
	pad[0] = char(depth);
	if (depth)
		site_41(v, depth - 1);
	else
		hold_keep(v, SITE_DEEPER, std::malloc(777), 777, nullptr);
	NO_TAIL_CALL();
}

// a new_handler that allocates and keeps: an allocation of the program's own
// from inside operator new
static int handled;
SITE void site_42()
{
	struct visit v = { CALLER_CXX, 0 };
	if (handled++)
		throw std::bad_alloc();
	hold_keep(&v, SITE_NEW_HANDLER, std::malloc(555), 555, nullptr);
	NO_TAIL_CALL();
}

SITE void new_that_calls_handler()
{
	handled = 0;
	std::set_new_handler(site_42);
	try {
		sink = ::operator new(huge);
	} catch (std::bad_alloc &) {
		hold_caught++;
	}
	std::set_new_handler(nullptr);
	NO_TAIL_CALL();
}

enum cxx_case { CASE_THROW, CASE_LONGJMP, CASE_HANDLER };

static void run_case(cxx_case which, long n)
{
	struct visit v = { CALLER_CXX, 0 };
	for (long i = 0; i < n; i++) {
		if (which == CASE_THROW)
			site_40(&v);
		if (which == CASE_LONGJMP) {
			jump_site();
			site_41(&v, 20);
		}
		if (which == CASE_HANDLER)
			new_that_calls_handler();
	}
}

SITE void caller_cxx(int which, long n);

int hold_cxx_command(const char *line, long n)
{
	if (!std::strncmp(line, "throw ", 6))
		caller_cxx(CASE_THROW, n);
	else if (!std::strncmp(line, "longjmp ", 8))
		caller_cxx(CASE_LONGJMP, n);
	else if (!std::strncmp(line, "newhandler ", 11))
		caller_cxx(CASE_HANDLER, n);
	else
		return 0;
	return 1;
}

SITE void caller_cxx(int which, long n)
{
	run_case(cxx_case(which), n);
	NO_TAIL_CALL();
}
}
