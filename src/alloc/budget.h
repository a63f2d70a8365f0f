/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a recording may cost its target, and what it does cost: a share of the
 * processor time, user and system, that the target uses.
 *
 * A bucket of credit: it fills with the share of what the target uses and holds half a
 * second's worth; what is spent is taken out. Once it is empty by a fifth of a second's
 * worth the budget is passed. So no window of 5 s costs more than 1.14 budgets. A target
 * that uses less than a tenth of one processor is held against that tenth, or else one
 * that sleeps could not be looked at.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "profile/report.h"

enum { BUDGET_RING = 64 };

struct budget {
	double share; /* 0.02 is 2 %; 0: it is only measured */
	uint64_t begun_ns, noted_ns;
	double began_cpu_ns, began_self_ns;
	double cpu_ns, cost_ns; /* since the beginning, as last noted */
	double pace;            /* processors in use, of late */
	double credit_ns;

	/* one in 100 ms, for the worst window of 5 s */
	struct {
		uint64_t at_ns;
		double cpu_ns, cost_ns;
	} ring[BUDGET_RING];
	unsigned n_ring;
	double worst; /* share */
};

/* Processor time of a process in ns; negative: it is gone. */
double budget_cpu_ns(pid_t pid);

/* @cpu_ns: the target's, as budget_cpu_ns() */
void budget_begin(struct budget *b, double share, uint64_t now_ns, double cpu_ns);
/* @cost_ns: spent since the beginning. True: the budget is passed. */
bool budget_note(struct budget *b, uint64_t now_ns, double cpu_ns, double cost_ns);
/* A second's worth of it at the pace of now. */
double budget_a_second_ns(const struct budget *b);
/* Share of @cpu_ns in @wall_ns that @cost_ns is, by the rule for sleepers above. */
double budget_share(double cost_ns, double cpu_ns, double wall_ns);

/* Of several processes: what they use and cost together, and the worst of each alone. */
void budget_add(struct budget *to, const struct budget *b);
int budget_report(const struct budget *b, struct report *to, struct error *err);

/* Share that the last second has cost, or all of it if it was shorter. */
double budget_lately(const struct budget *b);
/* A share as it is said to people: "about 14.4 %"; "more than 1,000 %" from there on, where what
 * was counted is no good for figures. */
enum { BUDGET_WORDS = 32 };
void budget_words(double share, char ret[BUDGET_WORDS]);
