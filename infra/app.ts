import { App } from 'aws-cdk-lib';
import { VecferryStack } from './stack.ts';

const app = new App();
new VecferryStack(app, 'Vecferry', {
  description: 'vecferry: moves vector collections and proves that nothing was lost',
});
app.synth();
