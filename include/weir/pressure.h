/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PRESSURE_H
#define WEIR_PRESSURE_H
#include <weir/base.h>
enum weir_pressure_level { WEIR_CALM = 0, WEIR_TIGHT, WEIR_HIGH, WEIR_CRITICAL };
#endif
