/* SPDX-License-Identifier: Apache-2.0 */
/* test_hazard_parts.c - the default policy in parts: bins, model, coldest residents, yardstick */
#include "tier/hazard.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TICKS(seconds) ((uint32_t)((seconds) * WI_HAZARD_TICKS_PER_S))

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

Test(hazard_parts, classes_double)
{
    static const unsigned first[] = {1, 2, 3, 5, 9, 17};
    for (unsigned touches = 1, class = 0; touches <= WI_HAZARD_TOUCHES; touches++) {
        if (class + 1 < WI_HAZARD_CLASSES && touches == first[class + 1]) class++;
        cr_assert_eq(wi_hazard_class(touches), class, "%u touches", touches);
    }
}

Test(hazard_parts, bins_are_half_octaves)
{
    cr_assert_eq(wi_hazard_bin(0), 0);
    cr_assert_eq(wi_hazard_bin(1), 0);
    cr_assert_eq(wi_hazard_bin(2), 2);
    cr_assert_eq(wi_hazard_bin(3), 3);
    cr_assert_eq(wi_hazard_bin(4), 4);
    cr_assert_eq(wi_hazard_bin(UINT32_MAX), WI_HAZARD_BINS - 1);
    uint64_t seed = 1;
    for (int i = 0; i < 100000; i++) {
        uint32_t age = (uint32_t)(next_random(&seed) >> (32 + seed % 31));
        unsigned bin = wi_hazard_bin(age);
        double   age_s = (double)age / WI_HAZARD_TICKS_PER_S;
        cr_assert_lt(bin, WI_HAZARD_BINS);
        cr_assert_geq(age_s * (1 + 1e-12), wi_hazard_bin_start_s(bin));
        if (age > 1) cr_assert_lt(age_s, wi_hazard_bin_start_s(bin + 1));
    }
}

/* Objects touched `touches` times, exposed at one age for so many object-seconds. */
static void see(struct wi_hazard_model *model, unsigned touches, double age_s, unsigned events,
                double exposure_s)
{
    model->exposure.at[wi_hazard_class(touches)][wi_hazard_bin(TICKS(age_s))] += exposure_s;
    for (unsigned i = 0; i < events; i++)
        wi_hazard_model_touch(model, touches, TICKS(age_s), 0);
}

static double rate_at(const struct wi_hazard_model *model, unsigned touches, double age_s)
{
    return model->rate.at[wi_hazard_class(touches)][wi_hazard_bin(TICKS(age_s))];
}

Test(hazard_parts, a_model_that_saw_nothing_expects_nothing)
{
    struct wi_hazard_model model = {0};
    wi_hazard_model_fit(&model, 0);
    for (unsigned touches = 0; touches <= WI_HAZARD_TOUCHES; touches++)
        cr_assert(isinf(wi_hazard_model_resident(&model, touches, TICKS(1))));
    cr_assert(isinf(wi_hazard_model_candidate(&model, 0, 0)));
}

/* Draw objects that are touched at a constant rate, and look every half second, as a monitor does. */
Test(hazard_parts, a_constant_rate_is_found_at_every_age)
{
    struct wi_hazard_model model = {0};
    uint64_t               seed = 3;
    const double           period_s = 0.5, rate = 0.05;
    for (int object = 0; object < 20000; object++) {
        uint32_t age = 0;
        for (int period = 0; period < 100; period++) {
            age += TICKS(period_s);
            model.exposure.at[0][wi_hazard_bin(age)] += period_s;
            double drawn = (double)(next_random(&seed) >> 11) / 9007199254740992.0;
            if (drawn >= -expm1(-rate * period_s)) continue;
            wi_hazard_model_touch(&model, 1, age, period_s);
            age = 0;
        }
    }
    model.fitted_at = 100;
    wi_hazard_model_fit(&model, 100);
    for (double age_s = 0.5; age_s < 30; age_s *= 1.5)
        cr_assert_float_eq(rate_at(&model, 1, age_s) / rate, 1, 0.1, "at %g s: %g", age_s,
                           rate_at(&model, 1, age_s));
    /* Memoryless: what a place is worth does not depend on the age, and is the rate. */
    cr_assert_float_eq(wi_hazard_model_resident(&model, 1, TICKS(1)), log2(rate), 0.2);
    cr_assert_float_eq(wi_hazard_model_resident(&model, 1, TICKS(20)), log2(rate), 0.2);
}

/* Touched ten seconds after the last touch or not at all: a request comes back after a think time. */
static void learn_hump(struct wi_hazard_model *model)
{
    for (double age_s = 0.5; age_s < 200; age_s *= M_SQRT2) see(model, 1, age_s, 0, 100000);
    see(model, 1, 10, 20000, 0);
    model->clump_sum = 1e6; /* touches came one by one */
    model->clump_square_sum = 1e6;
    memset(&model->recent, 0, sizeof model->recent);
    wi_hazard_model_fit(model, 0);
}

Test(hazard_parts, value_rises_towards_a_hump_and_falls_behind_it)
{
    struct wi_hazard_model model = {0};
    learn_hump(&model);
    double young = wi_hazard_model_resident(&model, 1, TICKS(1));
    double before = wi_hazard_model_resident(&model, 1, TICKS(8));
    double behind = wi_hazard_model_resident(&model, 1, TICKS(20));
    cr_assert_gt(before, young);
    cr_assert_lt(behind, young - 2);
}

Test(hazard_parts, values_go_smoothly_between_the_middles_of_bins)
{
    struct wi_hazard_model model = {0};
    learn_hump(&model);
    double before = wi_hazard_model_resident(&model, 1, 1000);
    for (uint32_t age = 1001; age < 4000; age++) {
        double value = wi_hazard_model_resident(&model, 1, age);
        cr_assert_lt(fabs(value - before), 0.05, "a step of %g at %u", value - before, age);
        before = value;
    }
}

Test(hazard_parts, a_promotion_must_earn_its_cost)
{
    struct wi_hazard_model model = {0};
    learn_hump(&model);
    double free = wi_hazard_model_candidate(&model, 0, 0);
    double cheap = wi_hazard_model_candidate(&model, 0, 0.05);
    double dear = wi_hazard_model_candidate(&model, 0, 0.2);
    cr_assert_float_eq(free, wi_hazard_model_resident(&model, 1, 0), 1e-9);
    cr_assert_lt(cheap, free);
    cr_assert_lt(dear, cheap);

    struct wi_hazard_model hopeless = {0};
    for (unsigned bin = 0; bin < WI_HAZARD_BINS; bin++) hopeless.exposure.at[0][bin] = 1e12;
    see(&hopeless, 1, 10, 1, 0);
    wi_hazard_model_fit(&hopeless, 0);
    cr_assert_not(isinf(wi_hazard_model_candidate(&hopeless, 0, 0)));
    cr_assert(isinf(wi_hazard_model_candidate(&hopeless, 0, 0.05)), "hardly any is touched again");
}

Test(hazard_parts, a_clump_is_one_observation)
{
    struct wi_hazard_model single = {0}, clumped = {0};
    /* Class 1 is touched four times as often as class 0: seen 400 times, at 400 moments or at two. */
    for (int round = 0; round < 400; round++) {
        see(&single, 1, 10, 1, 100);
        see(&single, 2, 10, 4, 100);
        wi_hazard_model_fit(&single, 0);
        if (round % 200 == 0) {
            see(&clumped, 1, 10, 200, 20000);
            see(&clumped, 2, 10, 800, 20000);
        }
        wi_hazard_model_fit(&clumped, 0);
    }
    double surely = rate_at(&single, 2, 10) / rate_at(&single, 1, 10);
    double perhaps = rate_at(&clumped, 2, 10) / rate_at(&clumped, 1, 10);
    cr_assert_float_eq(surely, 4, 0.5);
    cr_assert_lt(perhaps, 2.5);
    cr_assert_gt(perhaps, 1);
}

Test(hazard_parts, what_was_learned_fades)
{
    struct wi_hazard_model model = {0};
    see(&model, 1, 10, 1000, 10000);
    wi_hazard_model_fit(&model, 0);
    cr_assert_float_eq(model.events.at[0][wi_hazard_bin(TICKS(10))], 1000, 1e-9);
    wi_hazard_model_fit(&model, TICKS(1800));
    cr_assert_float_eq(model.events.at[0][wi_hazard_bin(TICKS(10))], 500, 1e-6);
    cr_assert_float_eq(model.exposure.at[0][wi_hazard_bin(TICKS(10))], 5000, 1e-6);
}

struct expected {
    double   value;
    uint32_t touched_at;
    uint32_t object;
};

static int compare_expected(const void *a, const void *b)
{
    const struct expected *left = a, *right = b;
    if (left->value != right->value) return left->value < right->value ? -1 : 1;
    if (left->touched_at != right->touched_at)
        return left->touched_at < right->touched_at ? -1 : 1;
    return left->object > right->object ? -1 : left->object < right->object;
}

static void check_coldest(size_t count, size_t count_max, uint64_t seed)
{
    struct wi_hazard_cold  cold;
    static struct expected all[6000];
    cr_assert_eq(wi_hazard_cold_init(&cold, count_max), 0);
    for (int round = 0; round < 2; round++) {
        wi_hazard_cold_begin(&cold);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t random = next_random(&seed);
            /* Few distinct values, so that ties are common; some are worth nothing at all. */
            double value = (random & 15) == 0 ? -INFINITY : (double)(int)(random >> 4 & 63) / 4 - 8;
            all[i] = (struct expected){value, (uint32_t)(random >> 32 & 7), i};
            wi_hazard_cold_add(&cold, i, value, all[i].touched_at);
        }
        wi_hazard_cold_end(&cold);
        qsort(all, count, sizeof *all, compare_expected);
        cr_assert_eq(cold.count, count < count_max ? count : count_max);
        cr_assert_eq(cold.complete, count <= count_max);
        for (size_t i = 0; i < cold.count; i++) {
            /* Equals at the end of the list may be any of them. */
            cr_assert_eq(cold.entries[i].value, all[i].value, "entry %zu of %zu", i, count);
            cr_assert_eq((uint32_t)cold.entries[i].key, all[i].touched_at);
            if (cold.complete) cr_assert_eq(cold.entries[i].object, all[i].object);
        }
    }
    wi_hazard_cold_fini(&cold);
}

Test(hazard_parts, the_coldest_are_found)
{
    static const size_t counts[] = {0, 1, 2, 3, 7, 63, 64, 65, 127, 128, 129, 1000, 5000};
    for (size_t i = 0; i < WI_ARRAY_COUNT(counts); i++) {
        check_coldest(counts[i], 1, 11 + i);
        check_coldest(counts[i], 64, 101 + i);
        check_coldest(counts[i], 6000, 1001 + i);
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

Test(hazard_parts, the_age_of_the_nth_youngest_is_found)
{
    static struct wi_hazard_ages ages;
    uint64_t                     seed = 5;
    enum { COUNT = 20000 };
    static double sorted[COUNT];
    for (int i = 0; i < COUNT; i++) {
        double drawn = (double)(next_random(&seed) >> 11) / 9007199254740992.0;
        sorted[i] = exp(drawn * 17);
        wi_hazard_ages_add(&ages, (uint32_t)sorted[i]);
    }
    qsort(sorted, COUNT, sizeof *sorted, compare_doubles);
    for (size_t count = 1; count < COUNT; count += 97) {
        double found = wi_hazard_ages_find(&ages, count);
        cr_assert_float_eq(found, sorted[count], 2 + sorted[count] * 0.02, "%zu", count);
    }
    cr_assert_eq(wi_hazard_ages_find(&ages, COUNT), UINT32_MAX);
    cr_assert_eq(wi_hazard_ages_find(&ages, COUNT + 1), UINT32_MAX);
}

/* Windows of five seconds in which the policy served so many touches more than recency. */
static uint32_t lead_for(struct wi_hazard_yardstick *yardstick, uint32_t now, int windows,
                         double lead, double swing)
{
    for (int i = 0; i < windows; i++) {
        now += TICKS(5);
        yardstick->window = lead + (i % 2 ? swing : -swing);
        (void)wi_hazard_yardstick_turn(yardstick, now);
    }
    return now;
}

Test(hazard_parts, recency_rules_while_it_is_clearly_ahead)
{
    struct wi_hazard_yardstick yardstick;
    wi_hazard_yardstick_init(&yardstick);
    uint32_t now = lead_for(&yardstick, 0, 200, 1, 40);
    cr_assert_eq(yardstick.recency_until, 0, "ahead, and noisy");
    now = lead_for(&yardstick, now, 500, -0.5, 40);
    cr_assert_eq(yardstick.recency_until, 0, "behind by no more than chance");
    now = lead_for(&yardstick, now, 60, -20, 5);
    cr_assert_gt(yardstick.recency_until, now, "behind");
    now = lead_for(&yardstick, now, 121, 0, 0);
    cr_assert_eq(yardstick.recency_until, 0, "another chance");
    cr_assert_eq(yardstick.lead, 0.0);
}

Test(hazard_parts, a_window_is_not_closed_early)
{
    struct wi_hazard_yardstick yardstick;
    wi_hazard_yardstick_init(&yardstick);
    yardstick.window = -100;
    cr_assert_not(wi_hazard_yardstick_turn(&yardstick, TICKS(5) - 1));
    cr_assert_eq(yardstick.window, -100.0);
    (void)wi_hazard_yardstick_turn(&yardstick, TICKS(5));
    cr_assert_eq(yardstick.window, 0.0);
}
