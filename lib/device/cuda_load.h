/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_load.h - finding the driver
 *
 * The driver library (WEIR_CUDA_LIBRARY) is opened once in the life of the process and never closed. Each
 * way in which that can fail has its own words, and is answered to every later call again.
 */
#ifndef WI_CUDA_LOAD_H
#define WI_CUDA_LOAD_H

#include "base/base.h"
#include "device/cuda_abi.h"

/* What became of one row of WI_CU_SYMBOLS. */
struct wi_cu_symbol {
    const char *name;
    int         version;
    bool        required;
    bool        found;
    uint32_t    result; /* what cuGetProcAddress answered */
    uint32_t    status; /* why the symbol was not found, where result is 0 */
};

/*
 * wi_cu_load - the driver's functions, after cuInit
 *
 * Thread: any. Progress: blocks in the dynamic loader and in the driver the first time.
 * Fails: NODRIVER (recorded with the reason), FORKED.
 */
int wi_cu_load(const struct wi_cu **out);

/*
 * wi_cu_forked - this process is a child of one that had loaded the driver
 *
 * No call into the driver may follow. False before the first load.
 */
bool wi_cu_forked(void);

/* What is known about the driver, also when loading failed. Fixed once wi_cu_load() has returned. */
struct wi_cu_facts {
    const char         *library; /* the file that was opened, or the setting when none was */
    const char         *problem; /* why loading failed; NULL when it did not               */
    int                 version; /* of the driver, such as 13000; 0: never asked           */
    struct wi_cu_symbol symbols[WI_CU_SYMBOLS_COUNT];
};

/* Loads if that has not been tried yet. */
const struct wi_cu_facts *wi_cu_facts(void);

/* The name and the meaning of a driver's result. Rows are those of WI_CU_RESULTS, with an end row that stands for the rest. */
struct wi_cu_meaning {
    uint32_t    result;
    int32_t     code;  /* WEIR_E* */
    bool        loses; /* the context cannot be used any more */
    const char *name;
};

const struct wi_cu_meaning *wi_cu_meaning_of(uint32_t result);

#endif
