/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hazard_model.c - from counts of touches and time to what a place in the faster tier is worth
 *
 * rate(class, bin) = touches / object-seconds. Where little was seen, it is drawn towards the average
 * over the classes, times what this class differs from the average at similar ages.
 *
 * How much is "little": touches come in clumps, because a request touches hundreds of objects of one
 * age at once, and a clump is one observation and not hundreds. The mean size of a clump, weighed by
 * touches, is measured (sum of squares / sum), and CLUMPS_PRIOR of them is the weight of the average.
 *
 * The value of holding an object of age a is the greatest, over horizons h, of
 *     P(touched within h | a) / E[min(time to the touch, h)]
 * (the index of Gittins and Jones, 1974, for a job that may be stopped at any time).
 */
#include "tier/hazard.h"

#include <math.h>

/* Half of what was learned is forgotten after this time: load changes over tens of minutes. */
#define MEMORY_HALF_S 1800.0
#define CLUMPS_PRIOR  10.0
/* The least weight of the average, in touches. */
#define TOUCHES_PRIOR 10.0
/* How much of a neighbouring bin counts when a class is compared with the average. */
#define NEIGHBOUR_SHARE 0.6

unsigned wi_hazard_class(unsigned touches)
{
    wi_assert(touches > 0);
    if (touches <= 2) return touches - 1;
    if (touches <= 4) return 2;
    if (touches <= 8) return 3;
    return touches <= 16 ? 4 : 5;
}

unsigned wi_hazard_bin(uint32_t age)
{
    if (age <= 1) return 0;
    unsigned octave = 31 - (unsigned)__builtin_clz(age);
    /* The upper half of an octave starts at 2^(octave + 1/2): compare squares. */
    bool upper = (uint64_t)age * age >= UINT64_C(1) << (2 * octave + 1);
    return 2 * octave + upper;
}

double wi_hazard_bin_start_s(unsigned bin)
{
    return bin == 0 ? 0 : exp2(bin / 2.0) / WI_HAZARD_TICKS_PER_S;
}

void wi_hazard_model_touch(struct wi_hazard_model *model, unsigned touches, uint32_t age,
                           double period_s)
{
    unsigned class = wi_hazard_class(touches);
    unsigned bin = wi_hazard_bin(age);
    model->events.at[class][bin]++;
    model->recent.at[class][bin]++;
    /* It was touched somewhere within the period, which is in `exposure` as a whole. */
    model->exposure.at[class][bin] -= period_s / 2;
}

/* Take in the clumps since the last fit, and answer how many touches the average weighs. */
static double prior_touches(struct wi_hazard_model *model, double keep)
{
    model->clump_sum *= keep;
    model->clump_square_sum *= keep;
    for (unsigned class = 0; class < WI_HAZARD_CLASSES; class++) {
        for (unsigned bin = 0; bin < WI_HAZARD_BINS; bin++) {
            double touches = model->recent.at[class][bin];
            model->clump_sum += touches;
            model->clump_square_sum += touches * touches;
            model->recent.at[class][bin] = 0;
        }
    }
    if (model->clump_sum <= 0) return TOUCHES_PRIOR;
    return fmax(TOUCHES_PRIOR, CLUMPS_PRIOR * model->clump_square_sum / model->clump_sum);
}

static void forget(struct wi_hazard_model *model, double keep)
{
    for (unsigned class = 0; class < WI_HAZARD_CLASSES; class++) {
        for (unsigned bin = 0; bin < WI_HAZARD_BINS; bin++) {
            model->events.at[class][bin] *= keep;
            model->exposure.at[class][bin] *= keep;
        }
    }
}

/* Object-seconds of a cell. At least a tick for each touch, which bounds the rate. */
static double exposure_of(const struct wi_hazard_model *model, unsigned class, unsigned bin)
{
    return fmax(model->exposure.at[class][bin],
                model->events.at[class][bin] / WI_HAZARD_TICKS_PER_S);
}

/* Rates over all classes together. Where nothing was seen, the bin before goes on. */
static void fit_average(struct wi_hazard_model *model, double average[WI_HAZARD_BINS])
{
    double events[WI_HAZARD_BINS] = {0}, exposure[WI_HAZARD_BINS] = {0};
    double events_all = 0, exposure_all = 0;
    for (unsigned bin = 0; bin < WI_HAZARD_BINS; bin++) {
        for (unsigned class = 0; class < WI_HAZARD_CLASSES; class++) {
            events[bin] += model->events.at[class][bin];
            exposure[bin] += exposure_of(model, class, bin);
        }
        events_all += events[bin];
        exposure_all += exposure[bin];
    }
    model->first_bin = 0;
    while (model->first_bin < WI_HAZARD_BINS - 1 && exposure[model->first_bin] <= 0)
        model->first_bin++;
    double before = exposure_all > 0 ? events_all / exposure_all : 0;
    for (unsigned bin = 0; bin < WI_HAZARD_BINS; bin++) {
        average[bin] = before;
        if (bin >= model->first_bin && exposure[bin] > 0 && before > 0)
            average[bin] = before = (events[bin] + 1) / (exposure[bin] + 1 / before);
    }
}

/* How much more often than the average a class is touched, at each age: smooth over neighbouring ages. */
static void fit_ratio(const struct wi_hazard_model *model, unsigned class,
                      const double average[WI_HAZARD_BINS], double prior,
                      double ratio[WI_HAZARD_BINS])
{
    double seen[WI_HAZARD_BINS], expected[WI_HAZARD_BINS];
    double seen_all = 0, expected_all = 0;
    for (unsigned bin = 0; bin < WI_HAZARD_BINS; bin++) {
        seen[bin] = model->events.at[class][bin];
        expected[bin] = exposure_of(model, class, bin) * average[bin];
        seen_all += seen[bin];
        expected_all += expected[bin];
    }
    double overall = (seen_all + prior) / (expected_all + prior);
    double near_seen = 0, near_expected = 0;
    for (unsigned bin = 0; bin < WI_HAZARD_BINS; bin++) {
        near_seen = near_seen * NEIGHBOUR_SHARE + seen[bin];
        near_expected = near_expected * NEIGHBOUR_SHARE + expected[bin];
        ratio[bin] = near_seen;
        /* The other side is added below; until then `expected` keeps the younger one. */
        double own = expected[bin];
        expected[bin] = near_expected;
        seen[bin] = own;
    }
    near_seen = near_expected = 0;
    for (unsigned bin = WI_HAZARD_BINS; bin-- > 0;) {
        double own_seen = model->events.at[class][bin], own_expected = seen[bin];
        ratio[bin] = (ratio[bin] + near_seen + prior) /
                     (expected[bin] + near_expected + prior / overall);
        near_seen = (near_seen + own_seen) * NEIGHBOUR_SHARE;
        near_expected = (near_expected + own_expected) * NEIGHBOUR_SHARE;
    }
}

/* The greatest, over horizons, of (P - cost) / E for an object that has just entered a bin. */
static double best_value(const double rate[WI_HAZARD_BINS], unsigned first, double cost)
{
    double alive = 1, time_s = 0, best = -INFINITY;
    for (unsigned bin = first; bin < WI_HAZARD_BINS; bin++) {
        double width_s = wi_hazard_bin_start_s(bin + 1) - wi_hazard_bin_start_s(bin);
        double touched = -expm1(-rate[bin] * width_s);
        time_s += alive * (rate[bin] * width_s < 1e-9 ? width_s : touched / rate[bin]);
        alive *= 1 - touched;
        best = fmax(best, (1 - alive - cost) / time_s);
    }
    return best;
}

static double log2_or_none(double value)
{
    return value > 0 ? log2(value) : -INFINITY;
}

void wi_hazard_model_fit(struct wi_hazard_model *model, uint32_t now)
{
    double keep = exp2((double)(now - model->fitted_at) / WI_HAZARD_TICKS_PER_S / -MEMORY_HALF_S);
    double prior = prior_touches(model, keep);
    double average[WI_HAZARD_BINS], ratio[WI_HAZARD_BINS];
    model->fitted_at = now;
    forget(model, keep);
    fit_average(model, average);
    for (unsigned class = 0; class < WI_HAZARD_CLASSES; class++) {
        double *rate = model->rate.at[class];
        fit_ratio(model, class, average, prior, ratio);
        for (unsigned bin = 0; bin < WI_HAZARD_BINS; bin++) {
            double expected_rate = ratio[bin] * average[bin];
            rate[bin] = 0;
            if (expected_rate > 0)
                rate[bin] = (model->events.at[class][bin] + prior) /
                            (exposure_of(model, class, bin) + prior / expected_rate);
        }
        /* Ages below one period are not told apart. */
        for (unsigned bin = 0; bin < model->first_bin; bin++) rate[bin] = rate[model->first_bin];
        for (unsigned bin = 0; bin < WI_HAZARD_BINS; bin++)
            model->value.at[class][bin] = log2_or_none(best_value(rate, bin, 0));
    }
}

double wi_hazard_model_resident(const struct wi_hazard_model *model, unsigned touches, uint32_t age)
{
    if (touches == 0) return -INFINITY;
    const double *value = model->value.at[wi_hazard_class(touches)];
    if (age == 0) return value[0];
    /* Values belong to the middle of their bin; between two middles they go straight. */
    double   at = 2 * log2(age) - 0.5;
    unsigned low = at < 0 ? 0 : (unsigned)at;
    if (at < 0 || low >= WI_HAZARD_BINS - 1) return value[low];
    if (isinf(value[low]) || isinf(value[low + 1])) return value[low];
    return value[low] + (value[low + 1] - value[low]) * (at - low);
}

/*
 * A hit also spares the promotion that the miss in its place would have led to: it is worth 1 + cost. The
 * values of residents are in units of that, so the cost is put into the same unit.
 */
double wi_hazard_model_candidate(const struct wi_hazard_model *model, unsigned class, double cost)
{
    wi_assert(class < WI_HAZARD_CLASSES && cost >= 0);
    return log2_or_none(best_value(model->rate.at[class], 0, cost / (1 + cost)));
}
