/* SPDX-License-Identifier: Apache-2.0 */
/* replay_json.c - the results of a replay as JSON. Scripts read these keys: add, but do not rename. */
#include "replay.h"

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *quantiles_json(const struct quantiles *quantiles)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "count", number(quantiles->count), "p50_ns",
                     number(quantiles->p50_ns), "p99_ns", number(quantiles->p99_ns), "p999_ns",
                     number(quantiles->p999_ns), "max_ns", number(quantiles->max_ns));
}

static json_t *sample_json(const struct replay_sample *sample)
{
    json_t *object = json_object();

    json_object_set_new(object, "t_ms", number(sample->at_ns / NS_PER_MS));
#define SET(field) json_object_set_new(object, #field, number(sample->field))
    SET(requests);
    SET(in_flight);
    SET(prompt_total);
    SET(prompt_free);
    SET(prompt_retiring);
    SET(step_total);
    SET(step_free);
    SET(step_retiring);
    SET(device_retiring);
    SET(waits);
    SET(acquire_p99_ns);
    SET(acquire_interval_p99_ns);
    SET(pressure_level);
#undef SET
    return object;
}

static json_t *series_json(const struct replay_series *series)
{
    json_t *array = json_array();

    for (size_t i = 0; i < series->count; i++)
        json_array_append_new(array, sample_json(&series->sample[i]));
    return array;
}

/* Pairs of the longest time in a bucket and how many fell into it, without empty buckets. */
static json_t *distribution_json(const struct histogram *histogram)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (histogram->count[i] == 0) continue;
        json_array_append_new(
            array, json_pack("[oo]", number(histogram_limit(i)), number(histogram->count[i])));
    }
    return array;
}

/* What weir and every baseline report alike. */
static json_t *result_json(const struct replay_result *result)
{
    json_t *object = json_object();
    double  wall_s = (double)result->wall_ns / (double)NS_PER_S;

    json_object_set_new(object, "requests", number(result->requests));
    json_object_set_new(object, "failures", number(result->failures));
    json_object_set_new(object, "corrupt", number(replay_corrupt(result)));
    json_object_set_new(object, "corrupt_prompts", number(result->corrupt_prompts));
    json_object_set_new(object, "corrupt_steps", number(result->corrupt_steps));
    json_object_set_new(object, "leaked", number(result->leaked));
    json_object_set_new(object, "lawful", json_boolean(result->lawless == 0));
    json_object_set_new(object, "interrupted", json_boolean(result->interrupted));
    if (result->first_failure[0])
        json_object_set_new(object, "first_failure", json_string(result->first_failure));
    json_object_set_new(object, "acquire", quantiles_json(&result->acquire));
    json_object_set_new(object, "release", quantiles_json(&result->release));
    json_object_set_new(object, "latency", quantiles_json(&result->latency));
    json_object_set_new(object, "waits", number(result->waits));
    json_object_set_new(object, "growths", number(result->growths));
    json_object_set_new(object, "retiring_max", number(result->retiring_max));
    json_object_set_new(object, "bytes", number(result->bytes));
    json_object_set_new(object, "wall_s", json_real(wall_s));
    json_object_set_new(object, "acquire_distribution", distribution_json(&result->acquires));
    json_object_set_new(object, "series", series_json(&result->series));
    return object;
}

static void add_plan(json_t *object, const struct replay_plan *plan)
{
    json_object_set_new(object, "arrivals", json_string(plan->source));
    json_object_set_new(object, "threads", number(plan->threads));
    json_object_set_new(object, "streams_compute", number(plan->streams_compute));
    json_object_set_new(object, "streams_comm", number(plan->streams_comm));
    json_object_set_new(object, "speedup",
                        plan->speedup > 0 ? json_real(plan->speedup) : json_string("max"));
    json_object_set_new(object, "seconds", json_real((double)plan->seconds_ns / (double)NS_PER_S));
    json_object_set_new(object, "seed", number(plan->seed));
    json_object_set_new(object, "plant", json_string(plan->early_reuse ? "early-reuse" : "none"));
    json_object_set_new(object, "prefill_ns_per_token", number(plan->prefill_ns_per_token));
    json_object_set_new(object, "decode_ns_per_token", number(plan->decode_ns_per_token));
}

json_t *replay_json(const struct replay_plan *plan, const struct replay_result *const *results,
                    size_t count)
{
    json_t *object = result_json(results[0]);
    json_t *baseline = json_object();

    add_plan(object, plan);
    json_object_set_new(object, "backend", json_string(results[0]->backend));
    json_object_set_new(object, "device", json_string(results[0]->device_name));
    json_object_set_new(object, "model", json_string(results[0]->model));
    for (size_t i = 1; i < count; i++) {
        json_t *entry = result_json(results[i]);
        json_object_set_new(entry, "description", json_string(results[i]->kind->description));
        json_object_set_new(baseline, results[i]->kind->name, entry);
    }
    if (json_object_set_new(object, "baseline", baseline) < 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}
