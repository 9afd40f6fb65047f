/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - the policies of weir, and taking in a user's
 *
 * A policy is pure: tables of its own, time passed in. See weir/policy.h for what each function owes.
 */
#ifndef WI_POLICY_H
#define WI_POLICY_H

#include "base/base.h"

#include <weir/policy.h>
#include <weir/pressure.h>

/* What a cost of 0 in the options stands for, and what it is at least while pressure is TIGHT. */
#define WI_POLICY_COST_DEFAULT 0.05
#define WI_POLICY_COST_TIGHT   0.20

extern const struct weir_policy wi_policy_hazard;
extern const struct weir_policy wi_policy_lru;
extern const struct weir_policy wi_policy_static;

/*
 * Copy a user's policy, of any age; NULL: the default. Functions that may be left out are filled in, so
 * the copy is called without looking. Fails: INVAL (names what is missing), OPTS.
 */
int wi_policy_import(const struct weir_policy *policy, struct weir_policy *out);

/* The options as a policy reads them: defaults filled in, costs not negative. Fails: INVAL, OPTS. */
int wi_policy_opts_import(const struct weir_policy_opts *opts, struct weir_policy_opts *out);

#endif
