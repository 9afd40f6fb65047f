/* SPDX-License-Identifier: Apache-2.0 */
/* says: engine: the cache is full */
