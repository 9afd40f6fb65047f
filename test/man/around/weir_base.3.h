/* SPDX-License-Identifier: Apache-2.0 */
/* says: weir 0\.[0-9]+, up to [0-9]+ ms left */
