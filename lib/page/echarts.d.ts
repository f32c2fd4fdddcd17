/** The build of ECharts in one file comes without types of its own. */
declare module 'echarts/dist/echarts.esm.min' {
  export * from 'echarts';
}
