# SPDX-License-Identifier: Apache-2.0
# Installed: headers, the libraries, weir::weir, weir::weir_static, weir::heap and weir::heap_static for CMake, weir.pc
# and weir_heap.pc for the rest, manual pages. In components, one for each Debian package: see WeirPackage.cmake.

include(CMakePackageConfigHelpers)

# weir_install_library(<target> <component>) - the shared library, and for developers its link and its static twin
function(weir_install_library target component)
    install(TARGETS ${target} ${target}_static EXPORT weirTargets
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev
            LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT ${component} NAMELINK_COMPONENT dev)
endfunction()

set(weir_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weir)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/weir DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
weir_install_library(weir weir)
if(TARGET weir_ucx)
    weir_install_library(weir_ucx ucx)
    configure_file(${PROJECT_SOURCE_DIR}/cmake/weir_ucx.pc.in ${PROJECT_BINARY_DIR}/weir_ucx.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/weir_ucx.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)
endif()
if(TARGET weir_heap)
    weir_install_library(weir_heap heap)
    configure_file(${PROJECT_SOURCE_DIR}/cmake/weir_heap.pc.in ${PROJECT_BINARY_DIR}/weir_heap.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/weir_heap.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)
endif()
install(EXPORT weirTargets NAMESPACE weir:: DESTINATION ${weir_cmake_dir} COMPONENT dev)

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/weirConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/weirConfig.cmake
                              INSTALL_DESTINATION ${weir_cmake_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/weirConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
configure_file(${PROJECT_SOURCE_DIR}/cmake/weir.pc.in ${PROJECT_BINARY_DIR}/weir.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/weirConfig.cmake ${PROJECT_BINARY_DIR}/weirConfigVersion.cmake
        DESTINATION ${weir_cmake_dir} COMPONENT dev)
install(FILES ${PROJECT_BINARY_DIR}/weir.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)

# The stress harness, as source, for programs of one's own: docs/stress.md.
set(weir_stress_dir ${CMAKE_INSTALL_DATADIR}/weir/stress)
install(FILES ${PROJECT_SOURCE_DIR}/stress/harness.h ${PROJECT_SOURCE_DIR}/stress/harness.c
              ${PROJECT_SOURCE_DIR}/stress/harness_lease.c ${PROJECT_SOURCE_DIR}/stress/harness_parts.h
        DESTINATION ${weir_stress_dir} COMPONENT dev)
install(FILES ${PROJECT_SOURCE_DIR}/lib/base/atomic.h DESTINATION ${weir_stress_dir}/base COMPONENT dev)

include(WeirMan)

if(PROJECT_IS_TOP_LEVEL)
    include(WeirPackage)
endif()
