/* SPDX-License-Identifier: Apache-2.0 */
/* weir/weir.h - everything but the opt-in headers (weir/scope.h, weir/cuda.h) */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

#include <weir/base.h>
#include <weir/async.h>
#include <weir/error.h>
#include <weir/log.h>
#include <weir/pool.h>
#include <weir/pressure.h>
#include <weir/region.h>
#include <weir/runtime.h>
#include <weir/slab.h>
#include <weir/stats.h>
#include <weir/policy.h>
#include <weir/stream.h>
#include <weir/tensor.h>
#include <weir/tier.h>

#endif
