# SPDX-License-Identifier: Apache-2.0
# Installed: headers, the libraries, weir::weir, weir::weir_static, weir::heap and weir::heap_static for CMake, weir.pc
# and weir_heap.pc for the rest.

include(CMakePackageConfigHelpers)
set(weir_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weir)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/weir DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(TARGETS weir weir_static EXPORT weirTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET weir_ucx)
    install(TARGETS weir_ucx weir_ucx_static EXPORT weirTargets
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
    configure_file(${PROJECT_SOURCE_DIR}/cmake/weir_ucx.pc.in ${PROJECT_BINARY_DIR}/weir_ucx.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/weir_ucx.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
if(TARGET weir_heap)
    install(TARGETS weir_heap weir_heap_static EXPORT weirTargets
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
    configure_file(${PROJECT_SOURCE_DIR}/cmake/weir_heap.pc.in ${PROJECT_BINARY_DIR}/weir_heap.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/weir_heap.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
install(EXPORT weirTargets NAMESPACE weir:: DESTINATION ${weir_cmake_dir})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/weirConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/weirConfig.cmake
                              INSTALL_DESTINATION ${weir_cmake_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/weirConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
configure_file(${PROJECT_SOURCE_DIR}/cmake/weir.pc.in ${PROJECT_BINARY_DIR}/weir.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/weirConfig.cmake ${PROJECT_BINARY_DIR}/weirConfigVersion.cmake
        DESTINATION ${weir_cmake_dir})
install(FILES ${PROJECT_BINARY_DIR}/weir.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The stress harness, as source, for programs of one's own: docs/stress.md.
set(weir_stress_dir ${CMAKE_INSTALL_DATADIR}/weir/stress)
install(FILES ${PROJECT_SOURCE_DIR}/stress/harness.h ${PROJECT_SOURCE_DIR}/stress/harness.c
              ${PROJECT_SOURCE_DIR}/stress/harness_lease.c ${PROJECT_SOURCE_DIR}/stress/harness_parts.h
        DESTINATION ${weir_stress_dir})
install(FILES ${PROJECT_SOURCE_DIR}/lib/base/atomic.h DESTINATION ${weir_stress_dir}/base)
