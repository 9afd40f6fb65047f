# SPDX-License-Identifier: Apache-2.0
# What the build stands on. libweir needs Concurrency Kit and threads; the rest serves tools and tests.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

find_path(WEIR_CK_INCLUDE_DIR ck_pr.h)
find_library(WEIR_CK_STATIC_LIBRARY libck.a)
find_library(WEIR_CK_LIBRARY ck)
mark_as_advanced(WEIR_CK_INCLUDE_DIR WEIR_CK_STATIC_LIBRARY WEIR_CK_LIBRARY)
if(NOT WEIR_CK_INCLUDE_DIR OR NOT WEIR_CK_LIBRARY)
    message(FATAL_ERROR "Concurrency Kit is missing: install libck-dev")
endif()

# libck.a can go into a shared library only if its code is position independent; distributions differ.
if(WEIR_CK_STATIC_LIBRARY)
    include(CheckCSourceCompiles)
    set(CMAKE_REQUIRED_FLAGS "-shared -fPIC")
    set(CMAKE_REQUIRED_LIBRARIES
        -Wl,--whole-archive ${WEIR_CK_STATIC_LIBRARY} -Wl,--no-whole-archive)
    check_c_source_compiles("int weir_probe(void) { return 0; }" WEIR_CK_STATIC_IS_PIC)
    unset(CMAKE_REQUIRED_FLAGS)
    unset(CMAKE_REQUIRED_LIBRARIES)
endif()

add_library(weir_ck INTERFACE)
target_include_directories(weir_ck SYSTEM INTERFACE ${WEIR_CK_INCLUDE_DIR})
if(WEIR_CK_STATIC_IS_PIC)
    target_link_libraries(weir_ck INTERFACE ${WEIR_CK_STATIC_LIBRARY})
else()
    target_link_libraries(weir_ck INTERFACE ${WEIR_CK_LIBRARY})
endif()

pkg_check_modules(JANSSON IMPORTED_TARGET QUIET jansson)
pkg_check_modules(ZLIB IMPORTED_TARGET QUIET zlib)
# libweir_ucx: pkg-config's ucx names libucm too, whose hooks go into the whole program; libucp brings what it needs.
pkg_check_modules(UCX QUIET ucx>=1.12)
pkg_check_modules(LIBCRYPTO IMPORTED_TARGET QUIET libcrypto)
find_library(WEIR_UCP_LIBRARY ucp)
find_library(WEIR_UCS_LIBRARY ucs)
mark_as_advanced(WEIR_UCP_LIBRARY WEIR_UCS_LIBRARY)
pkg_check_modules(JEMALLOC IMPORTED_TARGET QUIET jemalloc)
if(WEIR_BUILD_TESTING)
    pkg_check_modules(CRITERION IMPORTED_TARGET QUIET criterion)
endif()

if(WEIR_TRACE)
    include(CheckIncludeFile)
    check_include_file(sys/sdt.h WEIR_HAVE_SDT)
endif()
