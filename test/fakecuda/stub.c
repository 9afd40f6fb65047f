/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stub.c - as the toolkit's link-time library: every call answers 34 and touches nothing
 *
 * One body under every name that a loader may ask for. Arguments are ignored, whatever they are.
 */
unsigned stub_answer(void);

__attribute__((visibility("default"))) unsigned stub_answer(void)
{
    return 34;
}

#define STUB(name) __attribute__((visibility("default"), alias("stub_answer"))) unsigned name(void)

STUB(cuInit);
STUB(cuDriverGetVersion);
STUB(cuGetProcAddress);
STUB(cuGetProcAddress_v2);
STUB(cuGetErrorName);
STUB(cuDeviceGetCount);
STUB(cuDeviceGet);
STUB(cuDevicePrimaryCtxRetain);
